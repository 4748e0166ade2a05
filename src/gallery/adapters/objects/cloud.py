"""Objects in S3, GCS or Azure, through `obstore`. Errors are its own, and `FileNotFoundError` where it means that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError

from gallery.adapters.objects.budget import Budget
from gallery.adapters.objects.content import CHUNK, Found, Put, attributes, measure, whole
from gallery.adapters.objects.open import Remote
from gallery.adapters.objects.refusals import describe

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult  # types only: they are not there at run time

LISTED = 1000  # objects in one batch
PART = 5 * CHUNK
PARTS = 2  # that one put holds in memory at most
LARGE = 32 * CHUNK  # bytes under way of all puts of a process; what does not fit waits in its file
SMALL = 8 * CHUNK  # the same of contents up to `CHUNK`, which do not wait behind large ones


class Cloud:
    def __init__(self, store: Remote, timeout: float) -> None:
        self._store = store
        self._timeout = timeout
        self._small = Budget(SMALL)
        self._large = Budget(LARGE)

    @property
    def place(self) -> str:
        return describe(self._store)

    async def put(self, puts: Sequence[Put]) -> set[str]:
        """Store each under its key, what is large in parts. Returns the keys that are taken."""
        taken = set()
        for put in puts:
            try:
                await self._put(put)
            except AlreadyExistsError:
                taken.add(put.key)
        return taken

    async def replace(self, key: str, content: bytes) -> None:
        """Store it under its key, whatever was there."""
        await obstore.put_async(self._store, key, content, mode="overwrite")

    async def open(self, key: str, start: int, end: int | None) -> tuple[int, AsyncIterator[bytes]]:
        """The size of the whole, and the bytes from `start` until before `end`."""
        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        found = await obstore.get_async(self._store, key, options=options)
        return found.meta["size"], _chunks(found)

    async def size(self, key: str) -> int:
        return (await obstore.head_async(self._store, key))["size"]

    async def list(self, prefix: str) -> AsyncIterator[list[Found]]:
        async for batch in obstore.list(self._store, prefix, chunk_size=LISTED):
            yield [Found(found["path"], found["size"], found["last_modified"]) for found in batch]

    async def delete(self, keys: Sequence[str]) -> None:
        """What is not there is fine."""
        for key in keys:
            with suppress(NotFoundError, FileNotFoundError):
                async with asyncio.timeout(self._timeout):
                    await obstore.delete_async(self._store, key)

    async def sign(self, key: str, expires: timedelta) -> str:
        return await obstore.sign_async(self._store, "GET", key, expires)

    async def tidy(self) -> None:
        """What a put that was broken off has left, the store removes by its own rules."""

    async def _put(self, put: Put) -> None:
        size = measure(put.content)
        budget = self._small if size <= CHUNK else self._large
        async with budget.of(min(size, PART * PARTS)), asyncio.timeout(self._timeout * 4):
            if size > PART * PARTS:  # a multipart upload has no condition: look before it
                await self._check_free(put.key)
            content = put.content if size > PART * PARTS else await asyncio.to_thread(whole, put.content)
            await obstore.put_async(
                self._store,
                put.key,
                content,
                attributes=attributes(put.served),
                mode="create" if size <= PART * PARTS else "overwrite",
                chunk_size=PART,
                max_concurrency=PARTS,
            )

    async def _check_free(self, key: str) -> None:
        with suppress(NotFoundError, FileNotFoundError):
            await self.size(key)
            raise AlreadyExistsError


async def _chunks(found: "GetResult") -> AsyncIterator[bytes]:
    async for chunk in found.stream(min_chunk_size=CHUNK // 4):
        yield bytes(chunk)
