"""The object store: a directory or S3 behind one interface (`obstore`), and every failure to reach it under one name.

Keys are relative paths. A put is whole or not at all; nothing is ever overwritten (the callers' keys are unique).
Errors: `ObjectNotFound` for a key that is not there, `ObjectStoreAway` for everything that may pass.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import LocalStore, S3Store

from gallery.errors import CannotStart, ForeignStore, ObjectDamaged, ObjectNotFound, ObjectStoreAway
from gallery.ops import metrics, tracing
from gallery.settings import Settings

if TYPE_CHECKING:
    from obstore import GetOptions  # a type only: it is not there at run time

INSTALLATION = "installation"  # the key that says whose store this is
CHUNK = 1024 * 1024
LISTED = 1000  # objects in one batch
PARTS = 2  # of CHUNK × 5 that one put holds in memory at most


class Found(NamedTuple):
    """An object in the store: its size in bytes, and when it was put, by the store's clock."""

    key: str
    size: int
    changed_at: datetime


class Objects:
    def __init__(self, store: S3Store | LocalStore, timeout: float) -> None:
        self._store = store
        self._timeout = timeout

    async def put(self, key: str, content: bytes | Path | IO[bytes]) -> None:
        """Store `content` under `key`, streamed when it is a file. Raises `ObjectStoreAway`."""
        with _asking("put", key), _failures_by_name(key):
            async with asyncio.timeout(self._timeout * 4):
                await obstore.put_async(
                    self._store,
                    key,
                    content,
                    chunk_size=5 * CHUNK,
                    max_concurrency=PARTS,
                )

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
        if not isinstance(self._store, S3Store):
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
    """S3 where a bucket is set, else files under the data directory. Raises `CannotStart`."""
    s3 = settings.s3
    if s3.bucket is None and s3.endpoint is None:
        return Objects(_directory(settings.data / "objects"), timeout=s3.timeout)
    if s3.bucket is None:
        raise CannotStart("S3_ENDPOINT is set without S3_BUCKET: say which bucket holds the objects.")
    store = S3Store(
        s3.bucket,
        endpoint=s3.endpoint,
        region=s3.region,
        access_key_id=s3.access_key,
        secret_access_key=s3.secret_key,
        virtual_hosted_style_request=False,
        client_options={
            "timeout": timedelta(seconds=s3.timeout),
            "connect_timeout": timedelta(seconds=min(5, s3.timeout)),
            "allow_http": (s3.endpoint or "").startswith("http://"),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=s3.timeout)},
    )
    return Objects(store, timeout=s3.timeout)


def _directory(path: Path) -> LocalStore:
    try:
        return LocalStore(path, mkdir=True)
    except (BaseError, OSError) as error:
        raise CannotStart(f"The object directory {path} cannot be used: {error}.") from error


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
        raise ObjectStoreAway(key=key, cause=repr(error)) from error


def _asking(what: str, key: str) -> AbstractContextManager[tracing.Span]:
    return tracing.span(f"objects {what}", "CLIENT", gallery__object__key=key)
