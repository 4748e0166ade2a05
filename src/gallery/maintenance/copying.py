"""Copies objects from one store to another. Each is hashed on its way, and put only if its size and hash are right.

An object that the target has already is not copied again, so an interrupted run continues where it ended.
"""

import asyncio
from collections.abc import AsyncIterator
from tempfile import SpooledTemporaryFile
from typing import IO, NamedTuple, cast

import structlog
from msgspec import Struct

from gallery.adapters.objects.content import CHUNK_BYTES, Digest, DownloadHeaders
from gallery.adapters.objects.store import ObjectStore
from gallery.background import cancel_and_wait
from gallery.errors import GalleryError, ObjectDamaged, ObjectNotFound, ObjectStoreUnavailable, ObjectTaken

log = structlog.get_logger(__name__)

MAX_CONCURRENT_COPIES = 8
BACKOFF_SECONDS = (1, 2, 4, 8, 15, 30)  # between attempts while a store is unavailable


class CopyRequest(NamedTuple):
    """An object to copy, with the facts that its row has: size in bytes, SHA-256 in hex, headers for downloads."""

    key: str
    size: int | None = None
    sha256: str | None = None
    headers: DownloadHeaders | None = None


class CopiedObject(Struct, frozen=True):
    """An object that is in the target now. `existed`: it was there before, and only its size was compared."""

    key: str
    size: int
    sha256: str | None = None
    existed: bool = False


class CopyFailure(Struct, frozen=True):
    """An object that was not copied: it is missing or damaged in the source, or the target has another of its key."""

    key: str
    error: GalleryError


async def copy(source: ObjectStore, target: ObjectStore, request: CopyRequest) -> CopiedObject:
    """Copy one object, and verify the copy by reading it back.

    Raises `ObjectNotFound` or `ObjectDamaged` for the source's object, `ObjectTaken` if the target has another one
    with the same key, `ObjectStoreUnavailable`.
    """
    existing_size = await target.size(request.key)
    if existing_size is not None:
        return await _check_existing(source, request, existing_size)
    with SpooledTemporaryFile(max_size=CHUNK_BYTES) as spool:
        file = cast("IO[bytes]", spool)  # `SpooledTemporaryFile` is not declared as one
        read = await _read_checked(source, request, file)
        await target.put(request.key, file, request.headers)
    if await target.digest(request.key) != read:
        await target.delete([request.key])
        raise ObjectDamaged(key=request.key, where="target")
    return CopiedObject(request.key, read.size, read.sha256)


async def copy_all(
    source: ObjectStore,
    target: ObjectStore,
    requests: AsyncIterator[CopyRequest],
    max_concurrent: int = MAX_CONCURRENT_COPIES,
) -> AsyncIterator[CopiedObject | CopyFailure]:
    """Copy the objects, `max_concurrent` at once and in no order. Waits about a minute for a store that is
    unavailable, then raises `ObjectStoreUnavailable`.
    """
    running: set[asyncio.Task[CopiedObject | CopyFailure]] = set()
    try:
        async for request in requests:
            running.add(asyncio.create_task(_copy_with_retries(source, target, request)))
            if len(running) >= max_concurrent:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        for finished in asyncio.as_completed(running):
            yield await finished
    finally:
        await cancel_and_wait(*running)


async def _copy_with_retries(
    source: ObjectStore, target: ObjectStore, request: CopyRequest
) -> CopiedObject | CopyFailure:
    for backoff in (*BACKOFF_SECONDS, None):
        try:
            return await copy(source, target, request)
        except (ObjectNotFound, ObjectDamaged, ObjectTaken) as error:
            return CopyFailure(request.key, error)
        except ObjectStoreUnavailable as error:
            if backoff is None:
                raise
            log.warning("copying.waiting", key=request.key, error=str(error))
            await asyncio.sleep(backoff)
    raise AssertionError("the last attempt returns or raises")


async def _check_existing(source: ObjectStore, request: CopyRequest, existing_size: int) -> CopiedObject:
    size = await _expected_size(source, request)
    if size != existing_size:
        raise ObjectTaken(key=request.key, size=size, there=existing_size)
    return CopiedObject(request.key, size, existed=True)


async def _read_checked(source: ObjectStore, request: CopyRequest, file: IO[bytes]) -> Digest:
    """Size and hash of the source's object. Raises `ObjectDamaged` if they differ from the row's."""
    size = await _expected_size(source, request)
    read = await source.digest(request.key, file)
    if read != (size, request.sha256 or read.sha256):
        raise ObjectDamaged(key=request.key, size=size, received=read.size, where="source")
    return read


async def _expected_size(source: ObjectStore, request: CopyRequest) -> int:
    """The size in the row, else in the source. Raises `ObjectNotFound`."""
    size = request.size if request.size is not None else await source.size(request.key)
    if size is None:
        raise ObjectNotFound(key=request.key)
    return size
