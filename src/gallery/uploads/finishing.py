"""The end of an upload in several requests: its parts become one object, and the object an image as by any other way.

Each step may run again after a crash: the parts are joined once, and the image and the end of the upload are committed
together.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from gallery import failpoints
from gallery.access.model import Caller
from gallery.access.upload_tickets import UploadTickets
from gallery.adapters.objects.parts import StoredPart
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import (
    GalleryError,
    ObjectNotFound,
    ObjectStoreUnavailable,
    ObjectTaken,
    PartsMissing,
    Rejected,
    UploadBusy,
    UploadNotFound,
)
from gallery.failpoints import Failpoint
from gallery.images import object_rows
from gallery.ops import metrics
from gallery.uploads import upload_rows
from gallery.uploads.add import TransactionHook, UploadResult
from gallery.uploads.form import Form
from gallery.uploads.model import Hold, Outcome, Upload, replace
from gallery.uploads.service import Uploads

log = structlog.get_logger(__name__)


class Finishing:
    def __init__(
        self, database: Database, objects: ObjectStore, uploads: Uploads, upload_tickets: UploadTickets
    ) -> None:
        self._database = database
        self._objects = objects
        self._uploads = uploads
        self._upload_tickets = upload_tickets

    async def finish(self, caller: Caller, hold: Hold, sha256: str | None) -> Upload:
        """End the upload, whose bytes are all there, with its image or with the error that refuses it.

        `sha256` is that of the bytes, if it is known already. Raises `PartsMissing`, `UploadBusy`, `StillInFlight`,
        `CredentialNotValid`, `Unavailable`: then the upload has not ended, and this may be tried again; and
        `UploadNotFound` for an upload that the store has lost.
        """
        upload = await self._assemble(hold)
        if upload.ticket_id != caller.ticket_id and upload.ticket_id is not None:  # its owner, or the sweep
            caller = await self._upload_tickets.find(upload.ticket_id)
        form, end = self._form(upload, sha256), self._end_hook(hold)
        try:
            response = await self._uploads.receive(
                caller, upload.idempotency_key, form, end, use_taken=True, lock_holder=upload.id
            )
        except Rejected as error:
            return await self.refuse(hold, error)
        if not response.replayed:  # else the image was committed by an earlier upload, and this one has not ended
            _count_end(upload, Outcome(response.image, response.state.duplicate))
            return await self._find(hold)
        return await self._end(hold, Outcome(response.image, response.state.duplicate))

    async def refuse(self, hold: Hold, error: GalleryError) -> Upload:
        """End the upload with this error, and remove what the store has of it."""
        log.info("upload.refused", upload=hold.upload.id, error=str(error))
        ended = await self._end(hold, Outcome(refusal=error))
        if ended.handle is not None:  # also one that began after the hold
            with suppress(ObjectStoreUnavailable):  # the sweep finds what the store still has
                await self._objects.multipart.abort(ended.key, ended.handle)
        return ended

    async def _assemble(self, hold: Hold) -> Upload:
        """The upload with all its bytes in one object."""
        upload = hold.upload
        if upload.stored:
            return upload
        if upload.handle is None:
            raise PartsMissing(missing="all parts")
        async with self._database.primary() as db:
            parts = await upload_rows.parts_of(db, upload.id)
        try:
            await self._join(hold, upload.handle, parts)
        except ObjectNotFound as error:  # the store has dropped the parts
            raise UploadNotFound(upload=upload.id, cause=str(error)) from error
        failpoints.hit(Failpoint.UPLOAD_ASSEMBLED)
        async with self._database.primary() as db:
            await upload_rows.set_stored(db, hold, upload.received)
        return replace(upload, stored=True)

    async def _join(self, hold: Hold, handle: str, parts: list[StoredPart]) -> None:
        """An object may be there already: a request put the whole file, and died before it was recorded."""
        key = hold.upload.key
        try:
            await self._objects.multipart.complete(key, handle, parts)
        except ObjectTaken:
            await self._objects.multipart.list_parts(key, handle)  # raises if the parts are gone: never delete both
            async with self._database.primary() as db:
                if not await upload_rows.renew(db, hold):
                    raise UploadBusy(upload=hold.upload.id) from None  # its new holder may have joined them
            await self._objects.delete([key])
            await self._objects.multipart.complete(key, handle, parts)

    @asynccontextmanager
    async def _form(self, upload: Upload, sha256: str | None) -> AsyncIterator[Form]:
        """The upload as a form of which the file is in the store. Raises `UploadNotFound`."""
        assert upload.size is not None  # noqa: S101  all bytes are there
        if sha256 is None:
            sha256 = await self._digest(upload)
        form = Form()
        form.claim(upload.sha256)
        form.fields, form.file_name, form.size, form.sha256 = upload.fields, upload.file_name, upload.size, sha256
        form.stored_as = upload.id
        # It owns nothing, so it is not closed: the loop would wait for a thread that reads and waits for the loop.
        form.file = self._objects.reader(upload.key, upload.size)
        yield form

    async def _digest(self, upload: Upload) -> str:
        try:
            return (await self._objects.digest(upload.key)).sha256
        except ObjectNotFound as error:
            raise UploadNotFound(upload=upload.id, cause=str(error)) from error

    def _end_hook(self, hold: Hold) -> TransactionHook:
        async def end(db: Connection, added: UploadResult) -> None:
            await upload_rows.end(db, hold, Outcome(added.image.id, added.duplicate))
            if added.duplicate:
                await object_rows.release(db, hold.upload.id)
            else:
                await upload_rows.release_tails(db, hold.upload)

        return end

    async def _end(self, hold: Hold, outcome: Outcome) -> Upload:
        async with self._database.writing() as db:
            handle = await upload_rows.end(db, hold, outcome)
            await upload_rows.give_back_use(db, hold.upload)
            await object_rows.release(db, hold.upload.id)
        _count_end(hold.upload, outcome)
        return replace(hold.upload, handle=handle, stored=True, outcome=outcome)

    async def _find(self, hold: Hold) -> Upload:
        async with self._database.primary() as db:
            found = await upload_rows.find(db, hold.upload.id)
        if found is None:
            raise UploadNotFound(upload=hold.upload.id)
        return found


def _count_end(upload: Upload, outcome: Outcome) -> None:
    name = "refused" if outcome.refusal is not None else "duplicate" if outcome.duplicate else "image"
    metrics.UPLOADS_ENDED.add(upload.protocol, name)
