"""Uploads in parts to S3: its own multipart uploads, of which the handle is the UploadId.

A part is streamed from its file, and its SHA-256 is in the signature of the request, so that S3 refuses other bytes.
"""

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import IO, TYPE_CHECKING, TypeVar

from obstore.store import S3Store

from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.daemon_threads import DaemonThreads
from gallery.adapters.objects.file_layout import run_in
from gallery.adapters.objects.parts import PartRequest, StoredPart, UnfinishedUpload
from gallery.settings import S3Settings

if TYPE_CHECKING:
    from gallery.adapters.objects.s3_calls import S3Calls

T = TypeVar("T")

THREADS = 16


class S3Parts:
    min_part_bytes = 5 * 1024 * 1024
    max_parts = 10_000
    can_sign = True

    def __init__(self, s3: S3Settings, store: S3Store) -> None:
        self._s3 = s3
        self._store = store
        self._threads = DaemonThreads(THREADS, "s3-parts")
        self._lock = threading.Lock()
        self._calls: S3Calls | None = None

    async def begin(self, key: str, headers: DownloadHeaders | None) -> str:
        return await self._run(lambda calls: calls.begin(key, headers))

    async def put_part(self, key: str, handle: str, number: int, start: int, content: IO[bytes] | bytes) -> StoredPart:
        return await self._run(lambda calls: calls.put_part(key, handle, number, start, content))

    async def list_parts(self, key: str, handle: str) -> list[StoredPart]:
        return await self._run(lambda calls: calls.list_parts(key, handle))

    async def complete(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None:
        await self._run(lambda calls: calls.complete(key, handle, parts))

    async def abort(self, key: str, handle: str) -> None:
        await self._run(lambda calls: calls.abort(key, handle))

    async def sign_part(self, key: str, handle: str, number: int, size: int, expires: timedelta) -> PartRequest | None:
        """In a thread too, because a role's credentials may have to be fetched again."""
        return await self._run(lambda calls: calls.sign_part(key, handle, number, size, expires))

    async def list_unfinished(self, before: datetime) -> AsyncIterator[list[UnfinishedUpload]]:
        pages = await self._run(lambda calls: calls.list_unfinished(before))
        while (page := await run_in(self._threads, partial(next, pages, None))) is not None:
            yield page

    async def _run(self, call: Callable[["S3Calls"], T]) -> T:
        return await run_in(self._threads, lambda: call(self._get_calls()))

    def _get_calls(self) -> "S3Calls":
        with self._lock:
            if self._calls is None:
                self._calls = self._make_calls()
            return self._calls

    def _make_calls(self) -> "S3Calls":
        """On the first use: a process that takes no parts does without the 40 MB of botocore."""
        from gallery.adapters.objects.s3_calls import S3Calls  # noqa: PLC0415

        config = self._store.config
        return S3Calls(self._s3, config["bucket"], self._store.prefix or "", config.get("endpoint"))
