"""Objects that arrive in parts: in any order, from several processes, over hours."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import IO

from gallery.adapters.objects.calls import next_item, span, translate_errors
from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.parts import PartRequest, PartsBackend, StoredPart, UnfinishedUpload
from gallery.errors import PartsMissing


class MultipartUploads:
    """Uploads of one store. An upload is known by its key and the `handle` of its beginning.

    Errors, beside `ObjectStoreUnavailable`, `ObjectStoreRefused` and `NoRoom`: `ObjectNotFound` for an upload that is
    gone, because it was completed or aborted.
    """

    def __init__(self, backend: PartsBackend, timeout: float) -> None:
        self._backend = backend
        self._timeout = timeout

    @property
    def min_part_bytes(self) -> int:
        """The smallest size of all parts but the last."""
        return self._backend.min_part_bytes

    @property
    def max_parts(self) -> int:
        """Parts are numbered from 1 to this."""
        return self._backend.max_parts

    @property
    def can_sign(self) -> bool:
        """Whether clients may send parts to the store itself."""
        return self._backend.can_sign

    async def begin(self, key: str, headers: DownloadHeaders | None = None) -> str:
        """Begin an upload to the free `key`. Returns its handle."""
        with span("begin", key), translate_errors(key):
            async with asyncio.timeout(self._timeout):
                return await self._backend.begin(key, headers)

    async def put_part(self, key: str, handle: str, number: int, start: int, content: IO[bytes] | bytes) -> StoredPart:
        """Store the whole `content` as the part `number`, which begins at the offset `start` of the object.

        A part may be sent again, and the last one counts. When this returns, its bytes are on disk or in the cloud.
        """
        if not 1 <= number <= self.max_parts:
            raise ValueError(f"Parts are numbered from 1 to {self.max_parts}, not {number}.")
        with span("put part", key), translate_errors(key):
            async with asyncio.timeout(self._timeout * 4):
                return await self._backend.put_part(key, handle, number, start, content)

    async def list_parts(self, key: str, handle: str) -> list[StoredPart]:
        """The whole parts that the store has, by their numbers."""
        with span("list parts", key), translate_errors(key):
            async with asyncio.timeout(self._timeout * 4):
                return await self._backend.list_parts(key, handle)

    async def complete(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None:
        """Make the parts one object under `key`. Nothing is overwritten.

        May be repeated, because an answer may be lost. Raises `PartsMissing` for a gap, or a part that the store has
        not or has otherwise; `ObjectTaken` if another object is there.
        """
        ordered = sorted(parts)
        self._check_whole(key, ordered)
        with span("complete", key, len(ordered)), translate_errors(key):
            async with asyncio.timeout(self._timeout * (4 + len(ordered))):
                await self._backend.complete(key, handle, ordered)

    async def abort(self, key: str, handle: str) -> None:
        """Remove an upload with its parts; one that is gone is no error."""
        with span("abort", key), translate_errors(key):
            async with asyncio.timeout(self._timeout * 4):
                await self._backend.abort(key, handle)

    async def sign_part(self, key: str, handle: str, number: int, size: int, expires: timedelta) -> PartRequest | None:
        """A request that stores a part of exactly `size` bytes without credentials; `None` if the store cannot sign."""
        with translate_errors(key):
            async with asyncio.timeout(self._timeout):
                return await self._backend.sign_part(key, handle, number, size, expires)

    async def list_unfinished(self, before: datetime) -> AsyncIterator[list[UnfinishedUpload]]:
        """All unfinished uploads of this store that began before a time, in batches and unordered."""
        batches = aiter(self._backend.list_unfinished(before))
        while (batch := await next_item("uploads", batches, self._timeout)) is not None:
            yield batch

    def _check_whole(self, key: str, parts: Sequence[StoredPart]) -> None:
        """Raises `PartsMissing`; `ValueError` for parts that are too small."""
        if not parts:
            raise PartsMissing(key=key, missing="all")
        end = 0
        for part in parts:
            if part.start != end:
                raise PartsMissing(key=key, missing=f"the bytes from {end}")
            end += part.size
        if any(part.size < self.min_part_bytes for part in parts[:-1]):
            raise ValueError(f"Each part but the last needs {self.min_part_bytes} bytes.")
