"""Objects in S3, GCS or Azure, through `obstore`. Raises its errors, and `FileNotFoundError` for a missing key."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError

from gallery.adapters.objects.budget import Budget
from gallery.adapters.objects.content import (
    CHUNK_BYTES,
    ObjectInfo,
    PrivateFile,
    PutRequest,
    attributes,
    content_size,
    read_all,
)
from gallery.adapters.objects.failures import describe
from gallery.adapters.objects.joined_parts import JoinedParts
from gallery.adapters.objects.open import CloudClient
from gallery.adapters.objects.parts import PartsBackend
from gallery.background import gather

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult  # types only: they do not exist at run time

LIST_BATCH_SIZE = 1000  # objects
PART_BYTES = 5 * CHUNK_BYTES
MAX_CONCURRENT_PARTS = 2  # per put, in memory
LARGE_BUDGET_BYTES = 20 * CHUNK_BYTES  # in flight in all large puts of a process; further puts wait in their files
SMALL_BUDGET_BYTES = 8 * CHUNK_BYTES  # the same for contents up to `CHUNK_BYTES`, which do not wait behind large ones


class CloudBackend:
    def __init__(self, store: CloudClient, timeout: float, parts: PartsBackend | None = None) -> None:
        """`parts` are the store's own uploads in parts, if Gallery can use them."""
        self._store = store
        self._timeout = timeout
        self._small_budget = Budget(SMALL_BUDGET_BYTES)
        self._large_budget = Budget(LARGE_BUDGET_BYTES)
        self.parts = parts or JoinedParts(store, self._large_budget)

    @property
    def location(self) -> str:
        return describe(self._store)

    async def put(self, puts: Sequence[PutRequest]) -> set[str]:
        """Store each object under its key, large ones in parts. Returns the keys that exist already."""
        stored = await gather([self._put_new(put) for put in puts])
        return {put.key for put, new in zip(puts, stored, strict=True) if not new}

    def temporary_file(self, key: str) -> BinaryIO:  # noqa: ARG002  all keys are equal here
        return PrivateFile()

    async def replace(self, key: str, content: bytes) -> None:
        """Store `content` under `key`, over anything that is there."""
        await obstore.put_async(self._store, key, content, mode="overwrite")

    async def open(self, key: str, start: int, end: int | None) -> tuple[int, AsyncIterator[bytes]]:
        """Returns the size of the whole object, and its bytes from `start` to before `end`."""
        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        found = await obstore.get_async(self._store, key, options=options)
        return found.meta["size"], _chunks(found)

    async def size(self, key: str) -> int:
        return (await obstore.head_async(self._store, key))["size"]

    async def list(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        async for batch in obstore.list(self._store, prefix, chunk_size=LIST_BATCH_SIZE):
            yield [ObjectInfo(found["path"], found["size"], found["last_modified"]) for found in batch]

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects; a missing one is no error."""
        for key in keys:
            with suppress(NotFoundError, FileNotFoundError):
                async with asyncio.timeout(self._timeout):
                    await obstore.delete_async(self._store, key)

    async def sign(self, key: str, expires: timedelta) -> str:
        return await obstore.sign_async(self._store, "GET", key, expires)

    async def clean_up(self) -> None:
        """The store's own rules remove the parts of interrupted puts."""

    async def _put_new(self, put: PutRequest) -> bool:
        """False if the key exists already."""
        try:
            await self._put(put)
        except AlreadyExistsError:
            return False
        return True

    async def _put(self, put: PutRequest) -> None:
        size = content_size(put.content)
        budget = self._small_budget if size <= CHUNK_BYTES else self._large_budget
        async with budget.acquire(min(size, PART_BYTES * MAX_CONCURRENT_PARTS)), asyncio.timeout(self._timeout * 4):
            if size > PART_BYTES * MAX_CONCURRENT_PARTS:  # a multipart upload takes no condition: check first
                await self._check_absent(put.key)
            content = (
                put.content
                if size > PART_BYTES * MAX_CONCURRENT_PARTS
                else await asyncio.to_thread(read_all, put.content)
            )
            await obstore.put_async(
                self._store,
                put.key,
                content,
                attributes=attributes(put.headers),
                mode="create" if size <= PART_BYTES * MAX_CONCURRENT_PARTS else "overwrite",
                chunk_size=PART_BYTES,
                max_concurrency=MAX_CONCURRENT_PARTS,
            )

    async def _check_absent(self, key: str) -> None:
        with suppress(NotFoundError, FileNotFoundError):
            await self.size(key)
            raise AlreadyExistsError


async def _chunks(found: "GetResult") -> AsyncIterator[bytes]:
    async for chunk in found.stream(min_chunk_size=CHUNK_BYTES // 4):
        yield bytes(chunk)
