"""The object store: a directory, S3, GCS or Azure behind one interface (`obstore`), and each failure under one name.

Keys are relative paths. A put is whole or not at all, and nothing is ever overwritten.
Errors: `ObjectNotFound` for a key that is not there, `ObjectStoreAway` for everything that may pass.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from gallery.adapters import private
from gallery.adapters.buckets import create_bucket, describe, no_bucket, refusals_by_name, understand
from gallery.adapters.content import CHUNK, Content, Served, attributes, measure, sha256
from gallery.adapters.stores import Store, at, make_store
from gallery.errors import (
    BucketMissing,
    CannotStart,
    ForeignStore,
    ObjectDamaged,
    ObjectNotFound,
    ObjectStoreAway,
    ObjectTaken,
    StoreClosed,
)
from gallery.ops import metrics, tracing
from gallery.settings import Settings

if TYPE_CHECKING:
    from obstore import GetOptions, PutMode  # types only: they are not there at run time

MakeBucket: TypeAlias = Callable[[], Awaitable[None]]

INSTALLATION = "installation"  # the key that says whose store this is
LISTED = 1000  # objects in one batch
PART = 5 * CHUNK
PARTS = 2  # that one put holds in memory at most


class Found(NamedTuple):
    """An object in the store: its size in bytes, and when it was put, by the store's clock."""

    key: str
    size: int
    changed_at: datetime


class Objects:
    def __init__(self, store: Store, timeout: float, make_bucket: MakeBucket | None = None) -> None:
        self._store = store
        self._timeout = timeout
        self._make_bucket = make_bucket
        self._installation: str | None = None

    @property
    def place(self) -> str:
        """Where the objects are, for people."""
        return describe(self._store)

    async def put(self, key: str, content: Content, served: Served | None = None) -> None:
        """Store `content` under `key`, where nothing is yet; what is large and in a file is streamed.

        The same bytes may be put again: an answer may have been lost after the put was done.
        Raises `ObjectTaken` where other bytes are, `ObjectStoreAway`.
        """
        shown = None if isinstance(self._store, LocalStore) else attributes(served)
        size = await asyncio.to_thread(measure, content)
        try:
            with _asking("put", key), _failures_by_name(key):
                async with asyncio.timeout(self._timeout * 4):
                    if size > PART * PARTS:  # a multipart upload has no condition: look before it
                        await self._check_free(key)
                    await obstore.put_async(
                        self._store,
                        key,
                        content,
                        attributes=shown,
                        mode="create" if size <= PART * PARTS else "overwrite",
                        chunk_size=PART,
                        max_concurrency=PARTS,
                    )
        except AlreadyExistsError:
            if await self.hash(key) != await asyncio.to_thread(sha256, content):
                raise ObjectTaken(key=key) from None

    async def open(self, key: str, start: int = 0, end: int | None = None) -> tuple[int, AsyncIterator[bytes]]:
        """The object's size in bytes, and its bytes from `start` until before `end` (or the last one), in chunks.

        Raises `ObjectNotFound`, and later too `ObjectStoreAway`. A part must not be empty nor begin beyond the end.
        """
        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        with _asking("get", key), _failures_by_name(key):
            async with asyncio.timeout(self._timeout):
                found = await obstore.get_async(self._store, key, options=options)
        return found.meta["size"], self._chunks(key, found)

    async def fetch(self, key: str, target: Path, *, size: int, sha256: str) -> None:
        """Copy an object to the file `target`. Raises `ObjectDamaged` unless it has that size and that hash."""
        digest, received = hashlib.sha256(), 0
        _, chunks = await self.open(key)
        with target.open("wb") as file:
            async for chunk in chunks:
                digest.update(chunk)
                received += len(chunk)
                file.write(chunk)
        if received != size or digest.hexdigest() != sha256:
            raise ObjectDamaged(key=key, size=size, received=received)

    async def hash(self, key: str) -> str:
        """The SHA-256 of an object's bytes, in hex. Raises `ObjectNotFound`, `ObjectStoreAway`."""
        digest = hashlib.sha256()
        _, chunks = await self.open(key)
        async for chunk in chunks:
            digest.update(chunk)
        return digest.hexdigest()

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is not there is fine. Raises `ObjectStoreAway`."""
        for key in keys:
            with suppress(ObjectNotFound), _failures_by_name(key):
                async with asyncio.timeout(self._timeout):
                    await obstore.delete_async(self._store, key)

    async def list(self, prefix: str) -> AsyncIterator[list[Found]]:
        """All objects under a prefix, in batches and in no order. Raises `ObjectStoreAway`."""
        batches = aiter(obstore.list(self._store, prefix, chunk_size=LISTED))
        while True:
            with _failures_by_name(prefix):
                async with asyncio.timeout(self._timeout):
                    batch = await anext(batches, None)
            if batch is None:
                return
            yield [Found(found["path"], found["size"], found["last_modified"]) for found in batch]

    async def size(self, key: str) -> int | None:
        """An object's size in bytes; `None` if there is none. Raises `ObjectStoreAway`."""
        try:
            with _failures_by_name(key):
                async with asyncio.timeout(self._timeout):
                    return (await obstore.head_async(self._store, key))["size"]
        except ObjectNotFound:
            return None

    async def sign(self, key: str, expires: timedelta) -> str | None:
        """A URL that reads `key` without credentials until it expires, or `None` where the store cannot sign."""
        if isinstance(self._store, LocalStore):
            return None
        with _failures_by_name(key):
            return await obstore.sign_async(self._store, "GET", key, expires)

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

    async def tidy(self) -> None:
        """What starts and ends have left to do in a directory. Raises `ObjectStoreAway`."""
        if isinstance(self._store, LocalStore):
            with _failures_by_name(self.place):
                await asyncio.to_thread(private.finish, Path(str(self._store.prefix)))

    async def close(self, installation: str) -> None:
        """Our objects have moved from here: who does not know it yet is not taken in any more."""
        await self._write_owner(closed(installation), "overwrite")

    async def owner(self) -> str | None:
        """Whose store this is. Raises `ObjectStoreAway`, `CannotStart`."""
        with refusals_by_name(self.place):
            async with asyncio.timeout(self._timeout):
                try:
                    return bytes(await (await obstore.get_async(self._store, INSTALLATION)).bytes_async()).decode()
                except FileNotFoundError as error:
                    if no_bucket(error):
                        raise
                    return None

    async def ping(self) -> None:
        """Raises `ObjectStoreAway`, `ObjectNotFound` for an emptied store, `ForeignStore` when it is not ours."""
        try:
            owner = await self.owner()
        except CannotStart as error:
            raise ObjectStoreAway(cause=error.detail) from error
        if owner is None:
            raise ObjectNotFound(key=INSTALLATION)
        if self._installation not in {owner, None}:
            raise self._foreign(owner, str(self._installation))

    def _foreign(self, owner: str | None, ours: str) -> ForeignStore:
        kind = StoreClosed if owner == closed(ours) else ForeignStore
        return kind(place=self.place, store=owner, ours=ours)

    async def _sign_in(self, installation: str, *, again: bool) -> None:
        try:
            await self._write_owner(installation, "create")
        except AlreadyExistsError:
            owner = await self.owner()
            if again and owner == closed(installation):
                await self._write_owner(installation, "overwrite")
            elif owner != installation:
                raise self._foreign(owner, installation) from None

    async def _write_owner(self, owner: str, mode: "PutMode") -> None:
        with refusals_by_name(self.place):
            async with asyncio.timeout(self._timeout):
                await obstore.put_async(self._store, INSTALLATION, owner.encode(), mode=mode)

    async def _check_free(self, key: str) -> None:
        with suppress(FileNotFoundError):
            await obstore.head_async(self._store, key)
            raise AlreadyExistsError

    async def _chunks(self, key: str, found: "obstore.GetResult") -> AsyncIterator[bytes]:
        stream = aiter(found.stream(min_chunk_size=CHUNK // 4))
        while True:
            with _failures_by_name(key):
                async with asyncio.timeout(self._timeout):
                    chunk = await anext(stream, None)
            if chunk is None:
                return
            yield bytes(chunk)


def open_objects(settings: Settings) -> Objects:
    """S3 or another store where one is set, else files under the data directory. Raises `CannotStart`."""
    return _opened(make_store(settings), settings)


def objects_at(url: str, settings: Settings) -> Objects:
    """The store at an address, with the keys and the endpoint of the settings. Raises `CannotStart`."""
    return _opened(at(url, settings.s3), settings)


def closed(installation: str) -> str:
    """What stands in a store that an installation has left."""
    return f"closed {installation}"


def _opened(store: Store, settings: Settings) -> Objects:
    make_bucket = None
    if isinstance(store, S3Store) and settings.s3.create_bucket:
        make_bucket = partial(create_bucket, settings.s3, store.config["bucket"])
    return Objects(store, settings.s3.timeout, make_bucket)


@contextmanager
def _failures_by_name(key: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ObjectNotFound(key=key) from error
    except AlreadyExistsError:
        raise
    except (BaseError, OSError, TimeoutError) as error:
        metrics.AWAY.add("objects")
        raise ObjectStoreAway(key=key, cause=understand(error).sentence) from error


def _asking(what: str, key: str) -> AbstractContextManager[tracing.Span]:
    return tracing.span(f"objects {what}", "CLIENT", gallery__object__key=key)
