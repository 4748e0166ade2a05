"""Objects that arrive in parts: their values, and the interface of the three kinds of stores that take them."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import IO, NamedTuple, Protocol

from gallery.adapters.objects.content import DownloadHeaders


class StoredPart(NamedTuple):
    """A part that the store has: its number, its offset in the object and its size in bytes.

    Only files know their offsets: in a list of the cloud's parts, each begins at the end of the one before it, so the
    offsets are right up to the first number that is missing. `etag` is empty in stores that have none.
    """

    number: int
    start: int
    size: int
    etag: str = ""


class PartRequest(NamedTuple):
    """The request by which a client sends a part to the store itself; `headers` are those that it has to add."""

    url: str
    method: str
    headers: dict[str, str]


class UnfinishedUpload(NamedTuple):
    """An upload that was begun, and neither completed nor aborted."""

    key: str
    handle: str
    started_at: datetime


class PartsBackend(Protocol):
    """Uploads in parts: `FileParts`, `S3Parts` or `JoinedParts`.

    Its errors are `OSError`s and those of `obstore`: `FileNotFoundError` for an upload that is gone, `FileExistsError`
    for a key that is taken.
    """

    min_part_bytes: int
    max_parts: int
    can_sign: bool

    async def begin(self, key: str, headers: DownloadHeaders | None) -> str: ...

    async def put_part(
        self, key: str, handle: str, number: int, start: int, content: IO[bytes] | bytes
    ) -> StoredPart: ...

    async def list_parts(self, key: str, handle: str) -> list[StoredPart]: ...

    async def complete(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None: ...

    async def abort(self, key: str, handle: str) -> None: ...

    async def sign_part(
        self, key: str, handle: str, number: int, size: int, expires: timedelta
    ) -> PartRequest | None: ...

    def list_unfinished(self, before: datetime) -> AsyncIterator[list[UnfinishedUpload]]: ...
