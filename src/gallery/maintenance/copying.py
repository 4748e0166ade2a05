"""Copies objects from one store to another: each is hashed on its way, and put only when it is what it should be.

What is there already is not copied again, so a run that was interrupted goes on where it ended.
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
BACKOFF_SECONDS = (1, 2, 4, 8, 15, 30)  # seconds between tries while a store is away


class CopyRequest(NamedTuple):
    """An object to be copied, and what is known of it beforehand: bytes, SHA-256 in hex, how it is served."""

    key: str
    size: int | None = None
    sha256: str | None = None
    headers: DownloadHeaders | None = None


class CopiedObject(Struct, frozen=True):
    """An object that is in the target now. `existed` says that it was before; then only its size was compared."""

    key: str
    size: int
    sha256: str | None = None
    existed: bool = False


class CopyFailure(Struct, frozen=True):
    """An object that was not copied: it is not in the source, damaged there, or something else has its place."""

    key: str
    error: GalleryError


async def copy(source: ObjectStore, target: ObjectStore, request: CopyRequest) -> CopiedObject:
    """Copy one object and read back what was put.

    Raises `ObjectNotFound` or `ObjectDamaged` for the source's object, `ObjectTaken` where the target has another one
    under the key, `ObjectStoreUnavailable`.
    """
    there = await target.size(request.key)
    if there is not None:
        return await _check_existing(source, request, there)
    with SpooledTemporaryFile(max_size=CHUNK_BYTES) as spool:
        file = cast("IO[bytes]", spool)  # it is one, though its type does not say so
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
    """Copy them, some at once and in no order. A store that is away is waited for; then raises
    `ObjectStoreUnavailable`.
    """
    under_way: set[asyncio.Task[CopiedObject | CopyFailure]] = set()
    try:
        async for one in requests:
            under_way.add(asyncio.create_task(_copy_with_retries(source, target, one)))
            if len(under_way) >= max_concurrent:
                done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        for finished in asyncio.as_completed(under_way):
            yield await finished
    finally:
        await cancel_and_wait(*under_way)


async def _copy_with_retries(
    source: ObjectStore, target: ObjectStore, wanted: CopyRequest
) -> CopiedObject | CopyFailure:
    for pause in (*BACKOFF_SECONDS, None):
        try:
            return await copy(source, target, wanted)
        except (ObjectNotFound, ObjectDamaged, ObjectTaken) as error:
            return CopyFailure(wanted.key, error)
        except ObjectStoreUnavailable as error:
            if pause is None:
                raise
            log.warning("copying.waiting", key=wanted.key, error=str(error))
            await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


async def _check_existing(source: ObjectStore, wanted: CopyRequest, existing_size: int) -> CopiedObject:
    size = await _expected_size(source, wanted)
    if size != existing_size:
        raise ObjectTaken(key=wanted.key, size=size, there=existing_size)
    return CopiedObject(wanted.key, size, existed=True)


async def _read_checked(source: ObjectStore, wanted: CopyRequest, file: IO[bytes]) -> Digest:
    """Size and hash of what was read; raises `ObjectDamaged` unless they are what is known."""
    size = await _expected_size(source, wanted)
    read = await source.digest(wanted.key, file)
    if read != (size, wanted.sha256 or read.sha256):
        raise ObjectDamaged(key=wanted.key, size=size, received=read.size, where="source")
    return read


async def _expected_size(source: ObjectStore, wanted: CopyRequest) -> int:
    """As it is known, or as the store says."""
    size = wanted.size if wanted.size is not None else await source.size(wanted.key)
    if size is None:
        raise ObjectNotFound(key=wanted.key)
    return size
