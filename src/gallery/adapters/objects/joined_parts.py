"""Uploads in parts to GCS and Azure: each part is an object below `uploads`, and they are joined when all are there.

Beside the parts lies the object `begun`. The joined object carries the handle as metadata, so that a repeated
completion finds it again.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import IO

import msgspec
import obstore
from obstore.exceptions import BaseError, NotFoundError

from gallery.adapters.objects.budget import Budget
from gallery.adapters.objects.content import DownloadHeaders, attributes, content_size
from gallery.adapters.objects.open import CloudClient
from gallery.adapters.objects.parts import PartRequest, StoredPart, UnfinishedUpload
from gallery.errors import PartsMissing

UPLOADS_PREFIX = "uploads"
BEGUN_NAME = "begun"
HANDLE_METADATA = "gallery_upload"  # a name that every store takes: Azure refuses hyphens
LIST_BATCH_SIZE = 1000  # objects
CHUNK_BYTES = 5 * 1024 * 1024  # of a put
MAX_CONCURRENT_CHUNKS = 2  # of a put, in memory
READ_BYTES = 1024 * 1024


class JoinedParts:
    min_part_bytes = 1
    max_parts = 10_000
    can_sign = False

    def __init__(self, store: CloudClient, budget: Budget) -> None:
        """`budget` is that of all large puts of the process."""
        self._store = store
        self._budget = budget

    async def begin(self, key: str, headers: DownloadHeaders | None) -> str:
        handle = secrets.token_hex(16)
        await obstore.put_async(self._store, _begun_key(handle), msgspec.json.encode(_Beginning(key, headers)))
        return handle

    async def put_part(
        self,
        key: str,  # noqa: ARG002  the handle is enough
        handle: str,
        number: int,
        start: int,
        content: IO[bytes] | bytes,
    ) -> StoredPart:
        await self._beginning(handle)
        size = await asyncio.to_thread(content_size, content)
        await self._put(_part_key(handle, number), content, size)
        try:
            await self._beginning(handle)
        except (NotFoundError, FileNotFoundError):  # cancelled meanwhile: nothing would show the part any more
            await self._delete([_part_key(handle, number)])
            raise
        return StoredPart(number, start, size)

    async def list_parts(self, key: str, handle: str) -> list[StoredPart]:  # noqa: ARG002
        await self._beginning(handle)
        parts, end = [], 0
        for number, size in sorted((await self._sizes(handle)).items()):
            parts.append(StoredPart(number, end, size))
            end += size
        return parts

    async def complete(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None:
        """Streams the parts into the object. Looks first whether the key is free: such a put takes no condition."""
        if not await self._is_completed(key, handle):
            try:
                await self._join(key, handle, parts)
            except (BaseError, OSError):  # perhaps another request has completed it, and deletes the parts
                if not await self._is_completed(key, handle):
                    raise
        await self.abort(key, handle)

    async def abort(self, key: str, handle: str) -> None:  # noqa: ARG002
        """`begun` goes last: without it, no list shows the upload."""
        await self._delete([*(_part_key(handle, number) for number in await self._sizes(handle)), _begun_key(handle)])

    async def sign_part(self, key: str, handle: str, number: int, size: int, expires: timedelta) -> PartRequest | None:
        """Returns `None`: a signed URL of these stores takes bytes of any length."""

    async def list_unfinished(self, before: datetime) -> AsyncIterator[list[UnfinishedUpload]]:
        async for batch in obstore.list(self._store, UPLOADS_PREFIX, chunk_size=LIST_BATCH_SIZE):
            unfinished = []
            for found in batch:
                if found["path"].endswith(f"/{BEGUN_NAME}") and found["last_modified"] < before:
                    handle = found["path"].split("/")[-2]
                    with suppress(NotFoundError, FileNotFoundError):  # it has ended meanwhile
                        key = (await self._beginning(handle)).key
                        unfinished.append(UnfinishedUpload(key, handle, found["last_modified"]))
            yield unfinished

    async def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            with suppress(NotFoundError, FileNotFoundError):
                await obstore.delete_async(self._store, name)

    async def _beginning(self, handle: str) -> "_Beginning":
        """Raises `FileNotFoundError` or `NotFoundError` for an upload that is gone."""
        found = await obstore.get_async(self._store, _begun_key(handle))
        return msgspec.json.decode(bytes(await found.bytes_async()), type=_Beginning)

    async def _join(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None:
        headers = (await self._beginning(handle)).headers
        sizes = await self._sizes(handle)
        missing = [str(part.number) for part in parts if sizes.get(part.number) != part.size]
        if missing:
            raise PartsMissing(missing=f"the parts {', '.join(missing)}")
        marked = {**(attributes(headers) or {}), HANDLE_METADATA: handle}
        await self._put(key, self._read_all(handle, parts), sum(sizes.values()), marked)

    async def _is_completed(self, key: str, handle: str) -> bool:
        """Raises `FileExistsError` if the object there is not that of the upload."""
        try:
            found = await obstore.get_async(self._store, key, options={"head": True})
        except (NotFoundError, FileNotFoundError):
            return False
        if found.attributes.get(HANDLE_METADATA) != handle:
            raise FileExistsError(key)
        return True

    async def _sizes(self, handle: str) -> dict[int, int]:
        """The sizes of the parts by their numbers."""
        sizes = {}
        async for batch in obstore.list(self._store, f"{UPLOADS_PREFIX}/{handle}", chunk_size=LIST_BATCH_SIZE):
            for found in batch:
                name = found["path"].rpartition("/")[2]
                if name != BEGUN_NAME:
                    sizes[int(name)] = found["size"]
        return sizes

    async def _read_all(self, handle: str, parts: Sequence[StoredPart]) -> AsyncIterator[bytes]:
        for part in parts:
            found = await obstore.get_async(self._store, _part_key(handle, part.number))
            async for chunk in found.stream(min_chunk_size=READ_BYTES):
                yield bytes(chunk)

    async def _put(
        self,
        key: str,
        content: IO[bytes] | bytes | AsyncIterator[bytes],
        size: int,
        marked: dict[str, str] | None = None,
    ) -> None:
        async with self._budget.acquire(min(size, CHUNK_BYTES * MAX_CONCURRENT_CHUNKS)):
            await obstore.put_async(
                self._store,
                key,
                content,
                attributes=marked,
                chunk_size=CHUNK_BYTES,
                max_concurrency=MAX_CONCURRENT_CHUNKS,
            )


class _Beginning(msgspec.Struct):
    """The content of the object `begun`."""

    key: str
    headers: DownloadHeaders | None


def _begun_key(handle: str) -> str:
    return f"{UPLOADS_PREFIX}/{handle}/{BEGUN_NAME}"


def _part_key(handle: str, number: int) -> str:
    return f"{UPLOADS_PREFIX}/{handle}/{number}"
