"""Finishes uploads in several requests that have all their bytes, and removes what is left of all others."""

from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog

from gallery.access.model import Caller, Scope
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection
from gallery.errors import CredentialNotValid, GalleryError, ObjectStoreUnavailable
from gallery.ops import metrics
from gallery.uploads import upload_rows
from gallery.uploads.model import Upload
from gallery.uploads.resumable import ResumableUploads

log = structlog.get_logger(__name__)

FINISHED_AT_ONCE = 2  # of a sweep: each is read once
BATCH = 50  # of a sweep: each takes a call to the store
UNKNOWN_AFTER = timedelta(hours=48)  # longer than any put goes on
UNKNOWN_EVERY_SECONDS = 3600.0


class UploadCleaning:
    """A chore of the sweep."""

    def __init__(self, objects: ObjectStore, uploads: ResumableUploads) -> None:
        self._objects = objects
        self._uploads = uploads
        self._next_search = 0.0

    async def __call__(self, db: Connection, limit: int) -> None:
        """End uploads of which the process died after the last byte; delete up to `limit` expired ones, and once an
        hour what the store holds of uploads without a row.
        """
        for upload in await upload_rows.find_abandoned(db, FINISHED_AT_ONCE):
            await self._finish(upload)
        await upload_rows.delete_ended(db, limit)
        try:
            await self._delete_expired(db, min(limit, BATCH))
            if monotonic() >= self._next_search:
                await self._abort_unknown(db)
        except ObjectStoreUnavailable as error:
            log.warning("uploads.not_cleaned", error=str(error))

    async def _finish(self, upload: Upload) -> None:
        caller = Caller(owner=upload.owner, scopes=frozenset({Scope.WRITE}))
        try:
            await self._uploads.settle(caller, upload.id)
        except CredentialNotValid:  # its ticket was revoked: no request can end it any more
            await self._uploads.forget(upload)
            metrics.UPLOADS_ENDED.add(upload.protocol, "expired")
            log.info("upload.forgotten", upload=upload.id, ticket=upload.ticket_id)
        except GalleryError as error:  # it was refused, or a later sweep tries again
            log.info("upload.not_finished", upload=upload.id, error=str(error))

    async def _delete_expired(self, db: Connection, limit: int) -> None:
        for upload in await upload_rows.lock_expired(db, limit):
            if upload.handle is not None and not upload.stored:
                await self._objects.multipart.abort(upload.key, upload.handle)
            await upload_rows.delete(db, upload)
            metrics.UPLOADS_ENDED.add(upload.protocol, "expired")
            log.info("upload.expired", upload=upload.id, received=upload.received, size=upload.size)

    async def _abort_unknown(self, db: Connection) -> None:
        """A process may die after it has begun an object in the store, and before it has recorded it.

        At most a batch of them; the next sweep goes on.
        """
        aborted = 0
        async for batch in self._objects.multipart.list_unfinished(datetime.now(UTC) - UNKNOWN_AFTER):
            for found in await upload_rows.unknown(db, batch):
                if aborted == BATCH:
                    return
                await self._objects.multipart.abort(found.key, found.handle)
                aborted += 1
                log.info("upload.unknown_removed", key=found.key)
        self._next_search = monotonic() + UNKNOWN_EVERY_SECONDS
