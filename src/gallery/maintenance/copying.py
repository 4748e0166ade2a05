"""Copies objects from one store to another: each is hashed on its way, and put only when it is what it should be.

What is there already is not copied again, so a run that was interrupted goes on where it ended.
"""

import asyncio
from collections.abc import AsyncIterator
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple, cast

import structlog
from msgspec import Struct

from gallery.adapters.objects.content import CHUNK, Digest, Served
from gallery.adapters.objects.store import Objects
from gallery.background import end
from gallery.errors import GalleryError, ObjectDamaged, ObjectNotFound, ObjectStoreAway, ObjectTaken

log = structlog.get_logger(__name__)

AT_ONCE = 8
PAUSES = (1, 2, 4, 8, 15, 30)  # seconds between tries while a store is away


class Wanted(NamedTuple):
    """An object to be copied, and what is known of it beforehand: bytes, SHA-256 in hex, how it is served."""

    key: str
    size: int | None = None
    sha256: str | None = None
    served: Served | None = None


class Copied(Struct, frozen=True):
    """An object that is in the target now. `already` says that it was before; then only its size was compared."""

    key: str
    size: int
    sha256: str | None = None
    already: bool = False


class Fault(Struct, frozen=True):
    """An object that was not copied: it is not in the source, damaged there, or something else has its place."""

    key: str
    error: GalleryError


async def copy(source: Objects, target: Objects, wanted: Wanted) -> Copied:
    """Copy one object and read back what was put.

    Raises `ObjectNotFound` or `ObjectDamaged` for the source's object, `ObjectTaken` where the target has another one
    under the key, `ObjectStoreAway`.
    """
    there = await target.size(wanted.key)
    if there is not None:
        return await _compare(source, wanted, there)
    with SpooledTemporaryFile(max_size=CHUNK) as spool:
        file = cast("IO[bytes]", spool)  # it is one, though its type does not say so
        read = await _read(source, wanted, file)
        await target.put(wanted.key, file, wanted.served)
    if await target.digest(wanted.key) != read:
        await target.delete([wanted.key])
        raise ObjectDamaged(key=wanted.key, where="target")
    return Copied(wanted.key, read.size, read.sha256)


async def copy_all(
    source: Objects, target: Objects, wanted: AsyncIterator[Wanted], at_once: int = AT_ONCE
) -> AsyncIterator[Copied | Fault]:
    """Copy them, some at once and in no order. A store that is away is waited for; then raises `ObjectStoreAway`."""
    under_way: set[asyncio.Task[Copied | Fault]] = set()
    try:
        async for one in wanted:
            under_way.add(asyncio.create_task(_patiently(source, target, one)))
            if len(under_way) >= at_once:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        for finished in asyncio.as_completed(under_way):
            yield await finished
    finally:
        await end(*under_way)


async def _patiently(source: Objects, target: Objects, wanted: Wanted) -> Copied | Fault:
    for pause in (*PAUSES, None):
        try:
            return await copy(source, target, wanted)
        except (ObjectNotFound, ObjectDamaged, ObjectTaken) as error:
            return Fault(wanted.key, error)
        except ObjectStoreAway as error:
            if pause is None:
                raise
            log.warning("copying.waiting", key=wanted.key, error=str(error))
            await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


async def _compare(source: Objects, wanted: Wanted, there: int) -> Copied:
    size = await _size(source, wanted)
    if size != there:
        raise ObjectTaken(key=wanted.key, size=size, there=there)
    return Copied(wanted.key, size, already=True)


async def _read(source: Objects, wanted: Wanted, file: IO[bytes]) -> Digest:
    """Size and hash of what was read; raises `ObjectDamaged` unless they are what is known."""
    size = await _size(source, wanted)
    read = await source.digest(wanted.key, file)
    if read != (size, wanted.sha256 or read.sha256):
        raise ObjectDamaged(key=wanted.key, size=size, received=read.size, where="source")
    return read


async def _size(source: Objects, wanted: Wanted) -> int:
    """As it is known, or as the store says."""
    size = wanted.size if wanted.size is not None else await source.size(wanted.key)
    if size is None:
        raise ObjectNotFound(key=wanted.key)
    return size
