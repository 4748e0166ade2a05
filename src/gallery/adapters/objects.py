"""The object store: a directory, S3, GCS or Azure behind one interface (`obstore`), and each failure under one name.

Keys are relative paths. A put is whole or not at all, and nothing is ever overwritten.
Errors: `ObjectNotFound` for a key that is not there, `ObjectStoreAway` for everything that may pass.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore

from gallery.adapters.stores import Store, make_store
from gallery.errors import ForeignStore, ObjectDamaged, ObjectNotFound, ObjectStoreAway, ObjectTaken
from gallery.settings import Settings

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions  # types only: they are not there at run time

INSTALLATION = "installation"  # the key that says whose store this is
CHUNK = 1024 * 1024
LISTED = 1000  # objects in one batch
PART = 5 * CHUNK
PARTS = 2  # that one put holds in memory at most


class Found(NamedTuple):
    """An object in the store: its size in bytes, and when it was put, by the store's clock."""

    key: str
    size: int
    changed_at: datetime


class Served(NamedTuple):
    """How a browser is to take what it reads from the store itself: of that type, and saved under that name."""

    type: str
    name: str


class Objects:
    def __init__(self, store: Store, timeout: float) -> None:
        self._store = store
        self._timeout = timeout

    async def put(self, key: str, content: bytes | Path | IO[bytes], served: Served | None = None) -> None:
        """Store `content` under `key`, where nothing is yet; what is large and in a file is streamed.

        The same bytes may be put again: an answer may have been lost after the put was done.
        Raises `ObjectTaken` where other bytes are, `ObjectStoreAway`.
        """
        attributes = None if isinstance(self._store, LocalStore) else _attributes(served)
        size = await asyncio.to_thread(_size, content)
        try:
            with _failures_by_name(key):
                async with asyncio.timeout(self._timeout * 4):
                    if size > PART * PARTS:  # a multipart upload has no condition: look before it
                        await self._check_free(key)
                    await obstore.put_async(
                        self._store,
                        key,
                        content,
                        attributes=attributes,
                        mode="create" if size <= PART * PARTS else "overwrite",
                        chunk_size=PART,
                        max_concurrency=PARTS,
                    )
        except AlreadyExistsError:
            if await self.hash(key) != await asyncio.to_thread(_hash, content):
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
        with _failures_by_name(key):
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

    async def claim(self, installation: str) -> None:
        """Write our id into an empty store. Raises `ForeignStore` where another installation's id stands already."""
        with _failures_by_name(INSTALLATION):
            try:
                await obstore.put_async(self._store, INSTALLATION, installation.encode(), mode="create")
            except AlreadyExistsError:
                owner = bytes(await (await obstore.get_async(self._store, INSTALLATION)).bytes_async()).decode()
                if owner != installation:
                    raise ForeignStore(store=owner, ours=installation) from None

    async def ping(self) -> None:
        with _failures_by_name(INSTALLATION):
            async with asyncio.timeout(self._timeout):
                await obstore.head_async(self._store, INSTALLATION)

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
    return Objects(make_store(settings), settings.s3.timeout)


def _attributes(served: Served | None) -> "Attributes | None":
    """What the store answers with. `attachment`, so that no browser runs in the store's name what it reads there."""
    if served is None:
        return None
    disposition = f"attachment; filename*=UTF-8''{quote(served.name, safe='')}"
    return {"Content-Type": served.type, "Content-Disposition": disposition}


def _size(content: bytes | Path | IO[bytes]) -> int:
    """In bytes; a file is at its beginning afterwards."""
    if isinstance(content, bytes):
        return len(content)
    if isinstance(content, Path):
        return content.stat().st_size
    content.seek(0, 2)
    size = content.tell()
    content.seek(0)
    return size


def _hash(content: bytes | Path | IO[bytes]) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    if isinstance(content, Path):
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    content.seek(0)
    while chunk := content.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _failures_by_name(key: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ObjectNotFound(key=key) from error
    except AlreadyExistsError:
        raise
    except (BaseError, OSError, TimeoutError) as error:
        raise ObjectStoreAway(key=key, cause=repr(error)) from error
