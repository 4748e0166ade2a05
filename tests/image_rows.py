"""Images as bare rows, for tests of lists: without a file, an event or a cache entry."""

from typing import Any

import msgspec

from factories import CALLER
from gallery.access.model import Caller
from gallery.errors import InvalidField
from gallery.images.list_query import parse
from gallery.images.model import Image, ImageId, new_id
from gallery.wiring import Gallery

ADD = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated, created_at)
    VALUES ($1, $2, $3, 'x.jpg', 'image/jpeg', 1, gen_random_uuid()::text, false, clock_timestamp())
"""


async def insert_images(gallery: Gallery, *titles: str, caller: Caller = CALLER, **columns: Any) -> list[ImageId]:
    """An image for each title, one after the other; `columns` are the same for all of them."""
    ids = [new_id() for _ in titles]
    async with gallery.database.writing() as db:
        for image, title in zip(ids, titles, strict=True):
            await db.execute(ADD, image, caller.owner, title)
        for column, value in columns.items():
            await db.execute(f"UPDATE image SET {column} = $2 WHERE id = ANY ($1::uuid[])", ids, value)
    return ids


async def list_images(gallery: Gallery, caller: Caller = CALLER, **parameters: Any) -> list[Image]:
    """The first page of a list with these query parameters."""
    return list((await gallery.images.page(caller, list_query(**parameters))).items)


async def list_titles(gallery: Gallery, **parameters: Any) -> list[str]:
    return [image.title for image in await list_images(gallery, **parameters)]


async def refused_parameter(gallery: Gallery, **parameters: Any) -> str | None:
    """The pointer of the refused parameter; `None` when the list is answered."""
    try:
        await list_images(gallery, **parameters)
    except InvalidField as refusal:
        return refusal.pointer
    return None


def list_query(**parameters: Any) -> Any:
    lists = ((name, value if isinstance(value, list) else [value]) for name, value in parameters.items())
    return parse((name, str(value)) for name, values in lists for value in values)


async def list_all_pages(gallery: Gallery, after_each_page: Any = None, **parameters: Any) -> list[Image]:
    """The images of all pages; `after_each_page` is called after each page but the last."""
    images: list[Image] = []
    query = list_query(**parameters)
    while True:
        page = await gallery.images.page(CALLER, query)
        images += page.items
        if page.next is None:
            return images
        query = msgspec.structs.replace(query, after=page.next)
        if after_each_page:
            await after_each_page()
