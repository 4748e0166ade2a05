"""Sends each photo that appears in a folder to Gallery, and prints the address of a small picture once there is one."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

from gallery_client import AsyncGallery, GalleryError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".heic"}
LOOK_SECONDS = 1.0


async def main(folder: Path) -> None:
    url = os.environ.get("GALLERY_URL", "http://127.0.0.1:3000")
    async with AsyncGallery(url, os.environ.get("GALLERY_TOKEN")) as gallery, asyncio.TaskGroup() as tasks:
        async for photo in new_photos(folder):
            tasks.create_task(send(gallery, photo))


async def new_photos(folder: Path) -> AsyncIterator[Path]:
    """Each photo once it has stayed the same between two looks: another program may still write it."""
    sent: set[tuple[Path, int]] = set()
    before: set[tuple[Path, int]] = set()
    while True:
        now = set(look(folder))
        for path, changed in sorted((now & before) - sent):
            sent.add((path, changed))
            yield path
        before = now
        await asyncio.sleep(LOOK_SECONDS)


def look(folder: Path) -> Iterator[tuple[Path, int]]:
    """The photos with the time of their last change."""
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES:
            with suppress(FileNotFoundError):  # it has just gone
                yield path, path.stat().st_mtime_ns


async def send(gallery: AsyncGallery, photo: Path) -> None:
    """The client tries again over breaks; bytes that Gallery has already are not stored twice."""
    try:
        image = await gallery.upload(photo, tags=["watched"])
        image = await gallery.wait(image)
    except (GalleryError, OSError) as error:
        print(f"{photo.name}: {error}", flush=True)
    else:
        print(f"{photo.name}: {gallery.picture_url(image, w=400, h=400, fit='cover')}", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
