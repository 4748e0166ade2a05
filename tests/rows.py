"""Images as bare rows, for stories in which only the list matters: no file, no event, nothing in the cache."""

from typing import Any

import msgspec

from cast import MAYA
from gallery.access.model import Caller
from gallery.errors import InvalidField
from gallery.images.list_query import read
from gallery.images.model import Image, ImageId, new_id
from gallery.wiring import Gallery

ADD = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated, created_at)
    VALUES ($1, $2, $3, 'x.jpg', 'image/jpeg', 1, gen_random_uuid()::text, false, clock_timestamp())
"""


async def hang(gallery: Gallery, *titles: str, caller: Caller = MAYA, **columns: Any) -> list[ImageId]:
    """An image for each title, one after the other; `columns` are the same for all of them."""
    ids = [new_id() for _ in titles]
    async with gallery.database.writing() as db:
        for image, title in zip(ids, titles, strict=True):
            await db.execute(ADD, image, caller.owner, title)
        for column, value in columns.items():
            await db.execute(f"UPDATE image SET {column} = $2 WHERE id = ANY ($1::uuid[])", ids, value)
    return ids


async def ask(gallery: Gallery, caller: Caller = MAYA, **parameters: Any) -> list[Image]:
    """The first page of what a query string with these parameters asks for."""
    return list((await gallery.images.page(caller, asked(**parameters))).items)


async def titles(gallery: Gallery, **parameters: Any) -> list[str]:
    return [image.title for image in await ask(gallery, **parameters)]


async def refused(gallery: Gallery, **parameters: Any) -> str | None:
    """Which parameter is refused; `None` when there is an answer."""
    try:
        await ask(gallery, **parameters)
    except InvalidField as refusal:
        return refusal.pointer
    return None


def asked(**parameters: Any) -> Any:
    lists = ((name, value if isinstance(value, list) else [value]) for name, value in parameters.items())
    return read((name, str(value)) for name, values in lists for value in values)


async def walk(gallery: Gallery, between: Any = None, **parameters: Any) -> list[Image]:
    """The images of all pages; `between` is done after each page."""
    images: list[Image] = []
    question = asked(**parameters)
    while True:
        page = await gallery.images.page(MAYA, question)
        images += page.items
        if page.next is None:
            return images
        question = msgspec.structs.replace(question, after=page.next)
        if between:
            await between()
