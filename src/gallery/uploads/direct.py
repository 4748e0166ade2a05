"""Uploads directly to the store: the sender puts the parts by URLs that need no credential, and then completes.

Where the store takes signed requests (S3), the bytes never pass Gallery. Elsewhere the URLs are Gallery's own.
"""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta
from typing import BinaryIO

import structlog
from msgspec import Struct

from gallery.access.model import Caller, Purpose
from gallery.access.signing import Signatures
from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.parts import PartRequest, StoredPart
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Database
from gallery.background import cancel_and_wait
from gallery.errors import (
    LinkNotValid,
    LongerThanSaid,
    ObjectNotFound,
    PartsMissing,
    ShorterThanSaid,
    UploadBusy,
    UploadNotFound,
)
from gallery.images.model import ImageId
from gallery.uploads import upload_rows
from gallery.uploads.model import Hold, NewUpload, Protocol, Upload, replace
from gallery.uploads.part_writer import begin_object
from gallery.uploads.resumable import ResumableUploads
from gallery.uploads.schema import PartView

log = structlog.get_logger(__name__)

URL_LIFETIME = timedelta(hours=24)  # as long as the upload itself
WAIT_SECONDS = 10.0  # for the check of a large file, before the sender is told to ask again
READ_WAIT_SECONDS = 2.0  # the same, of a sender that asks again
UNKNOWN_TYPE = "application/octet-stream"  # the store keeps what it was told before the first byte


class SignedPart(Struct, frozen=True):
    """A part of which the URL is Gallery's own, once its signature was found to be right."""

    upload: Upload
    number: int
    size: int


class DirectUploads:
    def __init__(
        self, database: Database, objects: ObjectStore, uploads: ResumableUploads, signatures: Signatures, base: str
    ) -> None:
        self._database = database
        self._objects = objects
        self._uploads = uploads
        self._signatures = signatures
        self._base = base
        self._checking: dict[ImageId, asyncio.Task[Upload]] = {}

    async def create(self, caller: Caller, new: NewUpload) -> tuple[Upload, list[PartView]]:
        """Begin an upload; with the idempotency key of an earlier one, that one and its parts again.

        Raises as `ResumableUploads.create` does, and `ObjectStoreUnavailable`.
        """
        upload = await self._uploads.create(caller, new)
        if upload.outcome is not None:
            return upload, []
        if upload.handle is None:
            upload = await self._begin(upload)
        return upload, [await self._sign(upload, number) for number in range(1, _count(upload) + 1)]

    async def complete(self, caller: Caller, id_: ImageId) -> Upload | None:
        """The upload with its image; `None` while it is still being checked, after `WAIT_SECONDS`.

        Raises `PartsMissing`, `UploadBusy`, `UploadNotFound`, the error that refused the upload, `Unavailable`.
        """
        upload = await self._uploads.find(caller, id_, Protocol.DIRECT)
        if upload.outcome is None and not upload.stored and id_ not in self._checking:
            try:
                await self._collect(upload)
            except UploadBusy:
                if not upload.complete:  # else another process is checking it
                    raise
        return await self._check(caller, upload, WAIT_SECONDS)

    async def read(self, caller: Caller, id_: ImageId) -> Upload:
        """The upload, with its image once it has been checked. Raises the same errors."""
        upload = await self._uploads.find(caller, id_)
        if upload.protocol is not Protocol.DIRECT or not upload.complete:
            return await self._uploads.settle(caller, id_)
        with suppress(UploadBusy):  # another process is checking it
            return await self._check(caller, upload, READ_WAIT_SECONDS) or upload
        return upload

    async def _check(self, caller: Caller, upload: Upload, seconds: float) -> Upload | None:
        checking = self._checking.get(upload.id)
        if checking is None:
            checking = asyncio.create_task(self._uploads.settle(caller, upload.id), name="check")
            self._checking[upload.id] = checking
            checking.add_done_callback(lambda task: self._forget_check(upload.id, task))
        done, _ = await asyncio.wait([checking], timeout=seconds)
        return checking.result() if done else None

    def _forget_check(self, id_: ImageId, task: asyncio.Task[Upload]) -> None:
        self._checking.pop(id_, None)
        if not task.cancelled():
            task.exception()  # so that asyncio does not log it: no request may wait for it any more

    async def verify_part(self, id_: ImageId, number: int, key_id: str, expires: str, signature: str) -> SignedPart:
        """The part that a URL of Gallery's own names.

        Raises `LinkNotValid`, `UploadNotFound`, `DatabaseUnavailable`.
        """
        message = _message(id_, number, expires)
        if not await self._signatures.verify(Purpose.PART, message, key_id, signature):
            raise LinkNotValid(reason="signature", key=key_id)
        if int(expires) <= time.time():
            raise LinkNotValid(reason="expired")
        async with self._database.primary() as db:
            upload = await upload_rows.find(db, id_)
        if upload is None or upload.outcome is not None or upload.handle is None:
            raise UploadNotFound(upload=id_)
        return SignedPart(upload, number, _bounds(upload, number)[1] - _bounds(upload, number)[0])

    async def put_part(self, part: SignedPart, content: BinaryIO) -> StoredPart:
        """Raises `ShorterThanSaid`, `LongerThanSaid`, `UploadNotFound`, `NoRoom`, `ObjectStoreUnavailable`."""
        size = content.seek(0, 2)
        if size > part.size:
            raise LongerThanSaid(size=part.size)
        if size < part.size:
            raise ShorterThanSaid(size=part.size, received=size)
        content.seek(0)
        upload = part.upload
        start, _ = _bounds(upload, part.number)
        try:
            return await self._objects.multipart.put_part(upload.key, str(upload.handle), part.number, start, content)
        except ObjectNotFound as error:  # completed or cancelled meanwhile
            raise UploadNotFound(upload=upload.id, cause=str(error)) from error

    def make_file(self, upload: Upload) -> BinaryIO:
        """An empty file for a part that is being received. Raises `NoRoom`, `ObjectStoreUnavailable`."""
        return self._objects.temporary_file(upload.key)

    async def close(self) -> None:
        """Ends the checks under way: another process, or a later request, does them again."""
        await cancel_and_wait(*self._checking.values())

    async def _begin(self, upload: Upload) -> Upload:
        headers = DownloadHeaders(UNKNOWN_TYPE, upload.file_name or upload.id)
        async with self._uploads.hold(upload) as (hold, _):
            if hold.upload.handle is not None:  # another request with the same idempotency key was faster
                return hold.upload
            handle = await begin_object(self._database, self._objects, hold, headers)
        return replace(upload, handle=handle)

    async def _sign(self, upload: Upload, number: int) -> PartView:
        start, end = _bounds(upload, number)
        request = await self._objects.multipart.sign_part(
            upload.key, str(upload.handle), number, end - start, URL_LIFETIME
        )
        if request is None:
            request = await self._sign_own(upload, number)
        return PartView(request.url, request.method, request.headers, start, end)

    async def _sign_own(self, upload: Upload, number: int) -> PartRequest:
        expires = str(int(time.time() + URL_LIFETIME.total_seconds()))
        key_id, signature = await self._signatures.sign(Purpose.PART, _message(upload.id, number, expires))
        query = f"kid={key_id}&exp={expires}&sig={signature}"
        return PartRequest(f"{self._base}/api/v1/uploads/{upload.id}/parts/{number}?{query}", "PUT", {})

    async def _collect(self, upload: Upload) -> None:
        """Record the parts that the store has: a part may have been sent again since. Raises `PartsMissing`."""
        async with self._uploads.hold(upload) as (hold, _):
            if hold.upload.stored:  # another request was faster
                return
            try:
                found = await self._find_parts(hold)
            except ObjectNotFound as error:
                if hold.upload.complete:  # a process died right after it had joined them
                    return
                raise UploadNotFound(upload=upload.id, cause=str(error)) from error
            async with self._database.primary() as db:
                await upload_rows.add_parts(db, hold, found, upload.size or 0)

    async def _find_parts(self, hold: Hold) -> list[StoredPart]:
        upload = hold.upload
        found = {part.number: part for part in await self._objects.multipart.list_parts(upload.key, str(upload.handle))}
        wanted = {number: _bounds(upload, number) for number in range(1, _count(upload) + 1)}
        missing = [n for n, (start, end) in wanted.items() if n not in found or found[n].size != end - start]
        if missing:
            raise PartsMissing(missing=_named(missing), numbers=missing)
        return [found[number]._replace(start=start) for number, (start, _) in wanted.items()]


def _count(upload: Upload) -> int:
    return -(-(upload.size or 0) // upload.part_bytes)


def _bounds(upload: Upload, number: int) -> tuple[int, int]:
    """The first byte of the part, and the one after its last. Raises `UploadNotFound` for a part that it has not."""
    if not 1 <= number <= _count(upload):
        raise UploadNotFound(upload=upload.id, part=number)
    start = (number - 1) * upload.part_bytes
    return start, min(start + upload.part_bytes, upload.size or 0)


def _message(upload: ImageId, number: int, expires: str) -> str:
    return f"{upload}\n{number}\n{expires}"


def _named(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return f"part{'s' if len(numbers) > 1 else ''} {shown}{' and more' if len(numbers) > 10 else ''}"
