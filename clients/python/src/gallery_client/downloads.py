"""Fetches originals to files."""

import hashlib
import secrets
from pathlib import Path
from urllib.parse import quote

from gallery_client.api import Api
from gallery_client.errors import GalleryError
from gallery_client.models import Image
from gallery_client.transports import Call


async def download(api: Api, image: Image, path: Path) -> None:
    """Only a whole file gets the name. Raises `GalleryError`, also for other bytes than the image's; `OSError`."""
    retries = api.retries()
    while True:
        try:
            return await _attempt(api, image, path)
        except GalleryError as error:
            await retries.pause(error)


async def _attempt(api: Api, image: Image, path: Path) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")  # of this call alone
    digest = hashlib.sha256()
    file = await api.transport.work(lambda: part.open("xb"))
    try:
        with file:
            async with api.stream(Call("GET", f"/images/{quote(image.id, safe='')}/original")) as blocks:
                async for block in blocks:
                    digest.update(block)
                    file.write(block)
        if digest.hexdigest() != image.sha256:
            raise GalleryError("receipt_mismatch", f"Other bytes than those of the image {image.id} have arrived.")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
