"""The object store: files, S3, GCS or Azure behind one interface, and each failure under one name.

Keys are relative paths. A put is whole or not at all, and nothing is ever overwritten.
Errors: `ObjectNotFound` for a key that is not there, `NoRoom` for a full disk, `ObjectStoreRefused` for credentials and
rights that a person has to correct, `ObjectStoreAway` for everything else that may pass.
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

from gallery.adapters.objects.cloud import Cloud
from gallery.adapters.objects.content import Content, Digest, Found, Put, Served, sha256
from gallery.adapters.objects.files import Files
from gallery.adapters.objects.open import Opened, at, make_store
from gallery.adapters.objects.refusals import create_bucket, no_bucket, refusals_by_name, understand
from gallery.errors import (
    BucketMissing,
    CannotStart,
    ForeignStore,
    NoRoom,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStoreAway,
    ObjectStoreRefused,
    ObjectTaken,
    StoreClosed,
    in_words,
)
from gallery.local_disk.space import FULL
from gallery.ops import metrics, tracing
from gallery.settings import Settings

T = TypeVar("T")
MakeBucket: TypeAlias = Callable[[], Awaitable[None]]

INSTALLATION = "installation"  # the key that says whose store this is
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW  # through a link a renderer would choose the file


class Store(Protocol):
    """What keeps the objects: `Files` or `Cloud`. Its failures are `OSError`s and those of `obstore`."""

    @property
    def place(self) -> str: ...

    async def put(self, puts: Sequence[Put]) -> set[str]: ...

    async def replace(self, key: str, content: bytes) -> None: ...

    async def open(self, key: str, start: int, end: int | None) -> tuple[int, AsyncIterator[bytes]]: ...

    async def size(self, key: str) -> int: ...

    async def delete(self, keys: Sequence[str]) -> None: ...

    async def sign(self, key: str, expires: timedelta) -> str | None: ...

    async def tidy(self) -> None: ...

    def list(self, prefix: str) -> AsyncIterator[list[Found]]: ...


class Objects:
    def __init__(self, store: Store, timeout: float, make_bucket: MakeBucket | None = None) -> None:
        self._store = store
        self._timeout = timeout
        self._make_bucket = make_bucket
        self._installation: str | None = None

    @property
    def place(self) -> str:
        """Where the objects are, for people."""
        return self._store.place

    async def put(self, key: str, content: Content, served: Served | None = None) -> None:
        """Store `content` under `key`, where nothing is yet; what is large and in a file is streamed.

        The same bytes may be put again: an answer may have been lost after the put was done. What is put has reached
        the disk, or is kept by the cloud. Raises `ObjectTaken` where other bytes are, `NoRoom`, `ObjectStoreAway`.
        """
        await self.put_all([Put(key, content, served)])

    async def put_all(self, puts: Sequence[Put]) -> None:
        """The same for several, which cost less together. When it raises, some may have been put."""
        with _asking("put", puts[0].key, len(puts)), _failures_by_name(puts[0].key):
            async with asyncio.timeout(self._timeout * 4 * len(puts)):
                taken = await self._store.put(puts)
        for put in puts:
            if put.key in taken and (await self.digest(put.key)).sha256 != await asyncio.to_thread(sha256, put.content):
                raise ObjectTaken(key=put.key)

    async def open(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, AsyncIterator[bytes]]:
        """The object's size in bytes, and its bytes from `start` until before `end` (or the last one), in chunks.

        Raises `ObjectNotFound`, and later too `ObjectStoreAway`. A part must not be empty nor begin beyond the end.
        """
        with _asking("get", key), _failures_by_name(key):
            async with asyncio.timeout(self._timeout):
                size, chunks = await self._store.open(key, start, end)
        return size, self._chunks(key, chunks)

    async def fetch(self, key: str, target: Path, *, size: int, sha256: str) -> None:
        """Copy an object to the file `target`, which is no link.

        Raises `ObjectDamaged` unless it has that size and that hash.
        """
        with os.fdopen(os.open(target, NEW_FILE, 0o600), "wb") as file:
            read = await self.digest(key, file)
        if read != Digest(size, sha256):
            raise ObjectDamaged(key=key, size=size, received=read.size)

    async def digest(self, key: str, into: IO[bytes] | None = None) -> Digest:
        """Size and hash of an object's bytes, which are written `into` a file as well where there is one.

        Raises `ObjectNotFound`, `ObjectStoreAway`.
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
        """Remove objects; one that is not there is fine. Raises `ObjectStoreAway`."""
        if keys:
            with _failures_by_name(keys[0]):
                async with asyncio.timeout(self._timeout * len(keys)):
                    await self._store.delete(keys)

    async def list(self, prefix: str) -> AsyncIterator[list[Found]]:
        """All objects under a prefix, in batches and in no order. Raises `ObjectStoreAway`."""
        batches = aiter(self._store.list(prefix))
        while (batch := await self._next(prefix, batches)) is not None:
            yield batch

    async def size(self, key: str) -> int | None:
        """An object's size in bytes; `None` if there is none. Raises `ObjectStoreAway`."""
        try:
            with _failures_by_name(key):
                async with asyncio.timeout(self._timeout):
                    return await self._store.size(key)
        except ObjectNotFound:
            return None

    async def sign(self, key: str, expires: timedelta) -> str | None:
        """A URL that reads `key` without credentials until it expires, or `None` where the store cannot sign."""
        with _failures_by_name(key):
            return await self._store.sign(key, expires)

    async def tidy(self) -> None:
        """Do what an earlier process has left undone in the store. Raises `ObjectStoreAway`."""
        with _failures_by_name(self.place):
            await self._store.tidy()

    async def claim(self, installation: str, *, again: bool = False) -> None:
        """Write our id into an empty store, whose bucket is made where we may; `again` into one that we had closed.

        Raises `ForeignStore` where another installation's id stands already, `ObjectStoreAway` for what may pass and
        `CannotStart` for what does not.
        """
        try:
            await self._sign_in(installation, again=again)
        except BucketMissing:
            if self._make_bucket is None:
                raise
            await self._make_bucket()
            await self._sign_in(installation, again=again)
        self._installation = installation

    async def close(self, installation: str) -> None:
        """Our objects have moved from here: who does not know it yet is not taken in any more."""
        await self._replace_owner(closed(installation))

    async def owner(self) -> str | None:
        """Whose store this is. Raises `ObjectStoreAway`, `CannotStart`."""
        with refusals_by_name(self.place):
            async with asyncio.timeout(self._timeout):
                try:
                    _, chunks = await self._store.open(INSTALLATION, 0, None)
                    return b"".join([chunk async for chunk in chunks]).decode()
                except FileNotFoundError as error:
                    if no_bucket(error):
                        raise
                    return None

    async def ping(self) -> None:
        """Raises `ObjectStoreAway`, `ObjectStoreRefused`, `ObjectNotFound` for an emptied store, `ForeignStore`."""
        try:
            owner = await self.owner()
        except CannotStart as error:
            raise ObjectStoreRefused(cause=error.detail) from error
        if owner is None:
            raise ObjectNotFound(key=INSTALLATION)
        if self._installation not in {owner, None}:
            raise self._foreign(owner, str(self._installation))

    def _foreign(self, owner: str | None, ours: str) -> ForeignStore:
        kind = StoreClosed if owner == closed(ours) else ForeignStore
        return kind(place=self.place, store=owner, ours=ours)

    async def _sign_in(self, installation: str, *, again: bool) -> None:
        with refusals_by_name(self.place):
            async with asyncio.timeout(self._timeout):
                taken = await self._store.put([Put(INSTALLATION, installation.encode())])
        if not taken:
            return
        owner = await self.owner()
        if again and owner == closed(installation):
            await self._replace_owner(installation)
        elif owner != installation:
            raise self._foreign(owner, installation)

    async def _replace_owner(self, owner: str) -> None:
        with refusals_by_name(self.place):
            async with asyncio.timeout(self._timeout):
                await self._store.replace(INSTALLATION, owner.encode())

    async def _chunks(self, key: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while (chunk := await self._next(key, chunks)) is not None:
            yield chunk

    async def _next(self, key: str, items: AsyncIterator[T]) -> T | None:
        with _failures_by_name(key):
            async with asyncio.timeout(self._timeout):
                return await anext(items, None)


def open_objects(settings: Settings) -> Objects:
    """S3 or another store where one is set, else files under the data directory. Raises `CannotStart`."""
    return _opened(make_store(settings), settings)


def objects_at(url: str, settings: Settings) -> Objects:
    """The store at an address, with the keys and the endpoint of the settings. Raises `CannotStart`."""
    return _opened(at(url, settings.s3), settings)


def closed(installation: str) -> str:
    """What stands in a store that an installation has left."""
    return f"closed {installation}"


def _opened(store: Opened, settings: Settings) -> Objects:
    if isinstance(store, Path):
        return Objects(Files(store), settings.s3.timeout)
    make_bucket = None
    if isinstance(store, S3Store) and settings.s3.create_bucket:
        make_bucket = partial(create_bucket, settings.s3, store.config["bucket"])
    return Objects(Cloud(store, settings.s3.timeout), settings.s3.timeout, make_bucket)


@contextmanager
def _failures_by_name(key: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ObjectNotFound(key=key) from error
    except (BaseError, OSError, TimeoutError) as error:
        refusal = understand(error)
        (metrics.REFUSED if refusal.lasting else metrics.AWAY).add("objects")
        if isinstance(error, OSError) and error.errno in FULL:
            raise NoRoom(key=key, cause=in_words(error)) from error
        kind = ObjectStoreRefused if refusal.lasting else ObjectStoreAway
        raise kind(key=key, cause=refusal.sentence) from error


def _asking(what: str, key: str, count: int = 1) -> AbstractContextManager[tracing.Span]:
    return tracing.span(f"objects {what}", "CLIENT", gallery__object__key=key, gallery__object__count=count)
