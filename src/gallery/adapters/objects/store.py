"""The object store: files, S3, GCS or Azure behind one interface, and each failure under one name.

Keys are relative paths. A put is whole or not at all, and nothing is ever overwritten.
Errors: `ObjectNotFound` for a key that is not there, `NoRoom` for a full disk, `ObjectStoreRefused` for credentials and
rights that a person has to correct, `ObjectStoreUnavailable` for everything else that may pass.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO, Protocol, TypeAlias, TypeVar

from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from gallery.adapters.objects.cloud import CloudBackend
from gallery.adapters.objects.content import Content, Digest, DownloadHeaders, ObjectInfo, PutRequest, sha256
from gallery.adapters.objects.failures import classify, create_bucket, is_bucket_missing, translate_startup_errors
from gallery.adapters.objects.files import FileBackend
from gallery.adapters.objects.open import StoreTarget, make_store, store_at
from gallery.errors import (
    BucketMissing,
    CannotStart,
    ForeignStore,
    NoRoom,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    ObjectTaken,
    StoreClosed,
    describe_error,
)
from gallery.local_disk.space import DISK_FULL_ERRNOS
from gallery.ops import metrics, tracing
from gallery.settings import Settings

T = TypeVar("T")
MakeBucket: TypeAlias = Callable[[], Awaitable[None]]

INSTALLATION_KEY = "installation"  # the key that says whose store this is
NEW_FILE_FLAGS = (
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
)  # through a link a renderer would choose the file


class StoreBackend(Protocol):
    """What keeps the objects: `FileBackend` or `CloudBackend`. Its failures are `OSError`s and those of `obstore`."""

    @property
    def location(self) -> str: ...

    async def put(self, puts: Sequence[PutRequest]) -> set[str]: ...

    async def replace(self, key: str, content: bytes) -> None: ...

    async def open(self, key: str, start: int, end: int | None) -> tuple[int, AsyncIterator[bytes]]: ...

    async def size(self, key: str) -> int: ...

    async def delete(self, keys: Sequence[str]) -> None: ...

    async def sign(self, key: str, expires: timedelta) -> str | None: ...

    async def clean_up(self) -> None: ...

    def list(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]: ...


class ObjectStore:
    def __init__(self, store: StoreBackend, timeout: float, make_bucket: MakeBucket | None = None) -> None:
        self._store = store
        self._timeout = timeout
        self._make_bucket = make_bucket
        self._installation: str | None = None

    @property
    def location(self) -> str:
        """Where the objects are, for people."""
        return self._store.location

    async def put(self, key: str, content: Content, headers: DownloadHeaders | None = None) -> None:
        """Store `content` under `key`, where nothing is yet; what is large and in a file is streamed.

        The same bytes may be put again: an answer may have been lost after the put was done. What is put has reached
        the disk, or is kept by the cloud. Raises `ObjectTaken` where other bytes are, `NoRoom`,
        `ObjectStoreUnavailable`.
        """
        await self.put_all([PutRequest(key, content, headers)])

    async def put_all(self, puts: Sequence[PutRequest]) -> None:
        """The same for several, which cost less together. When it raises, some may have been put."""
        with _span("put", puts[0].key, len(puts)), _translate_errors(puts[0].key):
            async with asyncio.timeout(self._timeout * 4 * len(puts)):
                taken = await self._store.put(puts)
        for put in puts:
            if put.key in taken and (await self.digest(put.key)).sha256 != await asyncio.to_thread(sha256, put.content):
                raise ObjectTaken(key=put.key)

    async def open(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, AsyncIterator[bytes]]:
        """The object's size in bytes, and its bytes from `start` until before `end` (or the last one), in chunks.

        Raises `ObjectNotFound`, and later too `ObjectStoreUnavailable`. A part must not be empty nor begin beyond the
        end.
        """
        with _span("get", key), _translate_errors(key):
            async with asyncio.timeout(self._timeout):
                size, chunks = await self._store.open(key, start, end)
        return size, self._chunks(key, chunks)

    async def fetch(self, key: str, target: Path, *, size: int, sha256: str) -> None:
        """Copy an object to the file `target`, which is no link.

        Raises `ObjectDamaged` unless it has that size and that hash.
        """
        with os.fdopen(os.open(target, NEW_FILE_FLAGS, 0o600), "wb") as file:
            read = await self.digest(key, file)
        if read != Digest(size, sha256):
            raise ObjectDamaged(key=key, size=size, received=read.size)

    async def digest(self, key: str, into: IO[bytes] | None = None) -> Digest:
        """Size and hash of an object's bytes, which are written `into` a file as well where there is one.

        Raises `ObjectNotFound`, `ObjectStoreUnavailable`.
        """
        digest, size = hashlib.sha256(), 0
        _, chunks = await self.open(key)
        async for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            if into is not None:
                into.write(chunk)
        return Digest(size, digest.hexdigest())

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is not there is fine. Raises `ObjectStoreUnavailable`."""
        if keys:
            with _translate_errors(keys[0]):
                async with asyncio.timeout(self._timeout * len(keys)):
                    await self._store.delete(keys)

    async def list(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        """All objects under a prefix, in batches and in no order. Raises `ObjectStoreUnavailable`."""
        batches = aiter(self._store.list(prefix))
        while (batch := await self._next(prefix, batches)) is not None:
            yield batch

    async def size(self, key: str) -> int | None:
        """An object's size in bytes; `None` if there is none. Raises `ObjectStoreUnavailable`."""
        try:
            with _translate_errors(key):
                async with asyncio.timeout(self._timeout):
                    return await self._store.size(key)
        except ObjectNotFound:
            return None

    async def sign(self, key: str, expires: timedelta) -> str | None:
        """A URL that reads `key` without credentials until it expires, or `None` where the store cannot sign."""
        with _translate_errors(key):
            return await self._store.sign(key, expires)

    async def clean_up(self) -> None:
        """Do what an earlier process has left undone in the store. Raises `ObjectStoreUnavailable`."""
        with _translate_errors(self.location):
            await self._store.clean_up()

    async def take_ownership(self, installation: str, *, reopen: bool = False) -> None:
        """Write our id into an empty store, whose bucket is made where we may; `again` into one that we had closed.

        Raises `ForeignStore` where another installation's id stands already, `ObjectStoreUnavailable` for what may pass
        and `CannotStart` for what does not.
        """
        try:
            await self._try_ownership(installation, reopen=reopen)
        except BucketMissing:
            if self._make_bucket is None:
                raise
            await self._make_bucket()
            await self._try_ownership(installation, reopen=reopen)
        self._installation = installation

    async def mark_closed(self, installation: str) -> None:
        """Our objects have moved from here: who does not know it yet is not taken in any more."""
        await self._write_owner(closed_marker(installation))

    async def find_owner(self) -> str | None:
        """Whose store this is. Raises `ObjectStoreUnavailable`, `CannotStart`."""
        with translate_startup_errors(self.location):
            async with asyncio.timeout(self._timeout):
                try:
                    _, chunks = await self._store.open(INSTALLATION_KEY, 0, None)
                    return b"".join([chunk async for chunk in chunks]).decode()
                except FileNotFoundError as error:
                    if is_bucket_missing(error):
                        raise
                    return None

    async def ping(self) -> None:
        """Raises `ObjectStoreUnavailable`, `ObjectStoreRefused`, `ObjectNotFound` for an emptied store,
        `ForeignStore`.
        """
        try:
            owner = await self.find_owner()
        except CannotStart as error:
            raise ObjectStoreRefused(cause=error.detail) from error
        if owner is None:
            raise ObjectNotFound(key=INSTALLATION_KEY)
        if self._installation not in {owner, None}:
            raise self._foreign_error(owner, str(self._installation))

    def _foreign_error(self, owner: str | None, ours: str) -> ForeignStore:
        kind = StoreClosed if owner == closed_marker(ours) else ForeignStore
        return kind(place=self.location, store=owner, ours=ours)

    async def _try_ownership(self, installation: str, *, reopen: bool) -> None:
        with translate_startup_errors(self.location):
            async with asyncio.timeout(self._timeout):
                taken = await self._store.put([PutRequest(INSTALLATION_KEY, installation.encode())])
        if not taken:
            return
        owner = await self.find_owner()
        if reopen and owner == closed_marker(installation):
            await self._write_owner(installation)
        elif owner != installation:
            raise self._foreign_error(owner, installation)

    async def _write_owner(self, owner: str) -> None:
        with translate_startup_errors(self.location):
            async with asyncio.timeout(self._timeout):
                await self._store.replace(INSTALLATION_KEY, owner.encode())

    async def _chunks(self, key: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while (chunk := await self._next(key, chunks)) is not None:
            yield chunk

    async def _next(self, key: str, items: AsyncIterator[T]) -> T | None:
        with _translate_errors(key):
            async with asyncio.timeout(self._timeout):
                return await anext(items, None)


def open_objects(settings: Settings) -> ObjectStore:
    """S3 or another store where one is set, else files under the data directory. Raises `CannotStart`."""
    return _wrap(make_store(settings), settings)


def open_objects_at(url: str, settings: Settings) -> ObjectStore:
    """The store at an address, with the keys and the endpoint of the settings. Raises `CannotStart`."""
    return _wrap(store_at(url, settings.s3), settings)


def closed_marker(installation: str) -> str:
    """What stands in a store that an installation has left."""
    return f"closed {installation}"


def _wrap(store: StoreTarget, settings: Settings) -> ObjectStore:
    if isinstance(store, Path):
        return ObjectStore(FileBackend(store), settings.s3.timeout)
    make_bucket = None
    if isinstance(store, S3Store) and settings.s3.create_bucket:
        make_bucket = partial(create_bucket, settings.s3, store.config["bucket"])
    return ObjectStore(CloudBackend(store, settings.s3.timeout), settings.s3.timeout, make_bucket)


@contextmanager
def _translate_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ObjectNotFound(key=key) from error
    except (BaseError, OSError, TimeoutError) as error:
        refusal = classify(error)
        (metrics.REFUSED if refusal.permanent else metrics.UNAVAILABLE).add("objects")
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            raise NoRoom(key=key, cause=describe_error(error)) from error
        kind = ObjectStoreRefused if refusal.permanent else ObjectStoreUnavailable
        raise kind(key=key, cause=refusal.sentence) from error


def _span(operation: str, key: str, count: int = 1) -> AbstractContextManager[tracing.Span]:
    return tracing.span(f"objects {operation}", "CLIENT", gallery__object__key=key, gallery__object__count=count)
