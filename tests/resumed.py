"""What uploads in several requests leave, and steps of their tests."""

from datetime import UTC, datetime
from typing import Any, TypeAlias

import httpx

import photos
from factories import expire_pending_puts
from gallery.wiring import Gallery

MIB = 1024 * 1024
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)

Running: TypeAlias = tuple[Gallery, httpx.AsyncClient]


def large_photo(size: int, seed: int = 0) -> bytes:
    """A JPEG with bytes after its end, which decoders ignore."""
    content = photos.a_jpeg(seed=seed)
    return content + bytes(size - len(content))


async def execute(gallery: Gallery, statement: str) -> None:
    async with gallery.database.primary() as db:
        await db.execute(statement)


async def count(gallery: Gallery, table: str) -> int:
    async with gallery.database.primary() as db:
        return await db.fetchval(f"SELECT count(*) FROM {table}")


async def sweep(gallery: Gallery) -> None:
    """Twice, since a key that is released young is removed twice."""
    await gallery.sweep.run()
    await expire_pending_puts(gallery)
    await gallery.sweep.run()


async def unfinished(gallery: Gallery) -> list[Any]:
    return [found async for batch in gallery.objects.multipart.list_unfinished(FUTURE) for found in batch]
