"""The object store: files, S3, GCS or Azure behind one interface, and one name for each failure.

Keys are relative paths. A put is whole or not at all, and overwrites nothing.
Errors: `ObjectNotFound` for a missing key, `NoRoom` for a full disk, `ObjectStoreRefused` for credentials and
permissions that a person has to correct, `ObjectStoreUnavailable` for all others, which may pass.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, Protocol, TypeAlias

from obstore.store import S3Store

from gallery.adapters.objects.calls import next_item, span, translate_errors
from gallery.adapters.objects.cloud import CloudBackend
from gallery.adapters.objects.content import Content, Digest, DownloadHeaders, ObjectInfo, PutRequest, sha256
from gallery.adapters.objects.failures import create_bucket, is_bucket_missing, translate_startup_errors
from gallery.adapters.objects.files import FileBackend
from gallery.adapters.objects.multipart import MultipartUploads
from gallery.adapters.objects.open import StoreTarget, make_store, store_at
from gallery.adapters.objects.parts import PartsBackend
from gallery.adapters.objects.reader import buffered_reader
from gallery.adapters.objects.s3_parts import S3Parts
from gallery.errors import (
    BucketMissing,
    CannotStart,
    ForeignStore,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStoreRefused,
    ObjectTaken,
    StoreClosed,
)
from gallery.settings import Settings

MakeBucket: TypeAlias = Callable[[], Awaitable[None]]

INSTALLATION_KEY = "installation"  # holds the id of the installation that owns the store
NEW_FILE_FLAGS = (
    os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
)  # NOFOLLOW: a renderer could point a link at any file


class StoreBackend(Protocol):
    """Storage of the objects: `FileBackend` or `CloudBackend`. Its errors are `OSError`s and those of `obstore`."""

    @property
    def location(self) -> str: ...

    @property
    def parts(self) -> PartsBackend: ...

    async def put(self, puts: Sequence[PutRequest]) -> set[str]: ...

    def temporary_file(self, key: str) -> BinaryIO: ...

    async def replace(self, key: str, content: bytes) -> None: ...

    async def open(self, key: str, start: int, end: int | None) -> tuple[int, AsyncIterator[bytes]]: ...

    async def size(self, key: str) -> int: ...

    async def delete(self, keys: Sequence[str]) -> None: ...

    async def sign(self, key: str, expires: timedelta) -> str | None: ...

    async def clean_up(self) -> None: ...

    def list(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]: ...


class ObjectStore:
    def __init__(self, store: StoreBackend, timeout: float, make_bucket: MakeBucket | None = None) -> None:
        self.multipart = MultipartUploads(store.parts, timeout)
        self._store = store
        self._timeout = timeout
        self._make_bucket = make_bucket
        self._installation: str | None = None

    @property
    def location(self) -> str:
        """The store's location, for people."""
        return self._store.location

    async def put(self, key: str, content: Content, headers: DownloadHeaders | None = None) -> None:
        """Store `content` under the free `key`; large content from a file is streamed.

        The same bytes may be put again, because an answer may be lost after the put. When it returns, the bytes are on
        disk or in the cloud. Raises `ObjectTaken` if other bytes are there, `NoRoom`, `ObjectStoreUnavailable`.
        """
        await self.put_all([PutRequest(key, content, headers)])

    async def put_all(self, puts: Sequence[PutRequest]) -> None:
        """Like `put` for several objects, cheaper together. When it raises, some may have been stored."""
        with span("put", puts[0].key, len(puts)), translate_errors(puts[0].key):
            async with asyncio.timeout(self._timeout * 4 * len(puts)):
                taken = await self._store.put(puts)
        for put in puts:
            if put.key in taken and (await self.digest(put.key)).sha256 != await asyncio.to_thread(sha256, put.content):
                raise ObjectTaken(key=put.key)

    def temporary_file(self, key: str) -> BinaryIO:
        """An empty file for a content that will be put under `key`, or another key with the same first part.

        To be closed by the caller, after which it is gone. Raises `NoRoom`, `ObjectStoreUnavailable`.
        """
        with translate_errors(key):
            return self._store.temporary_file(key)

    async def open(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, AsyncIterator[bytes]]:
        """Returns the object's size in bytes, and its bytes from `start` to before `end` (or the end), in chunks.

        Raises `ObjectNotFound`; `ObjectStoreUnavailable` also later, between chunks. A range must not be empty or begin
        beyond the end.
        """
        with span("get", key), translate_errors(key):
            async with asyncio.timeout(self._timeout):
                size, chunks = await self._store.open(key, start, end)
        return size, self._chunks(key, chunks)

    async def fetch(self, key: str, target: Path, *, size: int, sha256: str | None = None) -> None:
        """Copy an object to the file `target`, which must not be a link.

        Raises `ObjectDamaged` unless it has this size and, if one is given, this hash.
        """
        with os.fdopen(os.open(target, NEW_FILE_FLAGS, 0o600), "wb") as file:
            read = await self.digest(key, file)
        if read != Digest(size, sha256 or read.sha256):
            raise ObjectDamaged(key=key, size=size, received=read.size)

    async def digest(self, key: str, into: IO[bytes] | None = None) -> Digest:
        """Size and hash of an object's bytes; with `into`, also copies them to that file.

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

    def reader(self, key: str, size: int) -> BinaryIO:
        """A seekable file over an object of `size` bytes, for use in threads beside the running event loop.

        It asks for 64 KiB at a time, or more if more is wanted. Its reads raise the errors of `open`.
        """
        return buffered_reader(partial(self._read_range, key), size)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; a missing one is no error. Raises `ObjectStoreUnavailable`."""
        if keys:
            with translate_errors(keys[0]):
                async with asyncio.timeout(self._timeout * len(keys)):
                    await self._store.delete(keys)

    async def list(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        """All objects under a prefix, in batches and unordered. Raises `ObjectStoreUnavailable`."""
        batches = aiter(self._store.list(prefix))
        while (batch := await next_item(prefix, batches, self._timeout)) is not None:
            yield batch

    async def size(self, key: str) -> int | None:
        """An object's size in bytes; `None` if it is missing. Raises `ObjectStoreUnavailable`."""
        try:
            with translate_errors(key):
                async with asyncio.timeout(self._timeout):
                    return await self._store.size(key)
        except ObjectNotFound:
            return None

    async def sign(self, key: str, expires: timedelta) -> str | None:
        """A URL that reads `key` without credentials until it expires; `None` if the store cannot sign."""
        with translate_errors(key):
            return await self._store.sign(key, expires)

    async def clean_up(self) -> None:
        """Finish the work of killed processes in the store. Raises `ObjectStoreUnavailable`."""
        with translate_errors(self.location):
            await self._store.clean_up()

    async def take_ownership(self, installation: str, *, reopen: bool = False) -> None:
        """Write the installation's id into an empty store, after creating its bucket if that is allowed.

        `reopen` also takes back a store that this installation has closed. Raises `ForeignStore` if another
        installation owns it, `ObjectStoreUnavailable` for a failure that may pass, else `CannotStart`.
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
        """The objects have moved away: a process with the old settings must not start here any more."""
        await self._write_owner(closed_marker(installation))

    async def find_owner(self) -> str | None:
        """The id of the installation that owns the store, or `None`. Raises `ObjectStoreUnavailable`, `CannotStart`."""
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
        """Raises `ObjectStoreUnavailable`, `ObjectStoreRefused`, `ForeignStore`; `ObjectNotFound` if it was emptied."""
        try:
            owner = await self.find_owner()
        except CannotStart as error:
            raise ObjectStoreRefused(cause=error.detail) from error
        if owner is None:
            raise ObjectNotFound(key=INSTALLATION_KEY)
        if self._installation not in {owner, None}:
            raise self._foreign_error(owner, str(self._installation))

    def _foreign_error(self, owner: str | None, installation: str) -> ForeignStore:
        kind = StoreClosed if owner == closed_marker(installation) else ForeignStore
        return kind(location=self.location, store=owner, ours=installation)

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

    async def _read_range(self, key: str, start: int, end: int) -> bytes:
        _, chunks = await self.open(key, start, end)
        return b"".join([chunk async for chunk in chunks])

    async def _chunks(self, key: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while (chunk := await next_item(key, chunks, self._timeout)) is not None:
            yield chunk


def open_objects(settings: Settings) -> ObjectStore:
    """S3 or another cloud store if one is set, else files under the data directory. Raises `CannotStart`."""
    return _wrap(make_store(settings), settings)


def open_objects_at(url: str, settings: Settings) -> ObjectStore:
    """The store at a URL, with the keys and the endpoint of the settings. Raises `CannotStart`."""
    return _wrap(store_at(url, settings.s3), settings)


def closed_marker(installation: str) -> str:
    """The owner entry of a store that its installation has left."""
    return f"closed {installation}"


def _wrap(store: StoreTarget, settings: Settings) -> ObjectStore:
    if isinstance(store, Path):
        return ObjectStore(FileBackend(store), settings.s3.timeout)
    timeout = settings.s3.timeout
    if not isinstance(store, S3Store):
        return ObjectStore(CloudBackend(store, timeout), timeout)
    make_bucket = partial(create_bucket, settings.s3, store.config["bucket"]) if settings.s3.create_bucket else None
    return ObjectStore(CloudBackend(store, timeout, S3Parts(settings.s3, store)), timeout, make_bucket)
