"""Uploads in several requests: any process takes the next bytes, and what has been acknowledged is never sent again.

The state is in PostgreSQL (`upload_rows`), the bytes are in the object store (`part_writer`), and the end is that of
any other upload (`finishing`).
"""

import asyncio
import typing
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic

import structlog

from gallery.access.model import Caller
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Database
from gallery.background import run_in_background
from gallery.errors import (
    DatabaseUnavailable,
    EmptyFile,
    GalleryError,
    LongerThanSaid,
    NotAPicture,
    ObjectNotFound,
    ObjectStoreUnavailable,
    OffsetMismatch,
    TooLarge,
    TooManyAttempts,
    UploadBusy,
    UploadNotFound,
)
from gallery.images.model import ImageId, new_id
from gallery.local_disk.space import translate_disk_full
from gallery.ops import metrics
from gallery.settings import UploadSettings
from gallery.uploads import begin_rows, schema, tickets, upload_rows
from gallery.uploads.finishing import Finishing
from gallery.uploads.model import Hold, NewUpload, Protocol, Upload, replace
from gallery.uploads.part_writer import PartWriter

log = structlog.get_logger(__name__)

RENEW_SECONDS = upload_rows.HOLD_PERIOD.total_seconds() / 3
STALLED_SECONDS = RENEW_SECONDS  # after this time without a byte, another request may take the upload over
BUSY_SECONDS = 20.0  # to wait for another request that is finishing the upload
POLL_SECONDS = 0.25


class Activity:
    """Whether a request that holds an upload waits for its client."""

    def __init__(self) -> None:
        self._waiting_since: float | None = None

    @property
    def stalled(self) -> bool:
        return self._waiting_since is not None and monotonic() - self._waiting_since > STALLED_SECONDS

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._waiting_since = monotonic()
        try:
            yield
        finally:
            self._waiting_since = None


class Body(typing.Protocol):
    """The bytes of a request. `check` raises once all have been read and are not those that their sender meant."""

    at_once: bool  # nothing counts before `check`
    size: int | None  # in bytes, if the request says it

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def check(self) -> None: ...


class ResumableUploads:
    def __init__(
        self, database: Database, objects: ObjectStore, finishing: Finishing, settings: UploadSettings
    ) -> None:
        self._database = database
        self._objects = objects
        self._finishing = finishing
        self._settings = settings

    async def create(self, caller: Caller, new: NewUpload) -> Upload:
        """Begin an upload, or return the one that this caller has begun with the same idempotency key.

        Raises `InvalidField`, `EmptyFile`, `TooLarge`, `QuotaExceeded`, `TooManyUploads`, `UploadTicketUsedUp`,
        `IdempotencyKeyReused`, `StillInFlight`, `DatabaseUnavailable`.
        """
        schema.parse_metadata(tickets.apply_rules(caller, new.fields), new.file_name)
        self.check_size(caller, new.length)
        async with self._database.writing() as db:
            begun = await begin_rows.find_begun(db, caller, new)
            if begun is not None:
                return begun
            upload = await begin_rows.create(db, new_id(), caller, new, self._settings)
        metrics.UPLOADS_BEGUN.add(upload.protocol)
        log.info("upload.created", upload=upload.id, protocol=upload.protocol, size=upload.size)
        return upload

    async def find(self, caller: Caller, id_: ImageId, protocol: Protocol | None = None) -> Upload:
        """The caller's upload (of this protocol), also for a day after its end.

        Raises `UploadNotFound`, `DatabaseUnavailable`.
        """
        async with self._database.primary() as db:
            upload = await upload_rows.find(db, id_)
        if upload is None or upload.owner != caller.owner or caller.ticket_id not in (None, upload.ticket_id):
            raise UploadNotFound(upload=id_)
        if protocol not in (None, upload.protocol):
            raise UploadNotFound(upload=id_, protocol=upload.protocol)
        return upload

    async def append(self, caller: Caller, id_: ImageId, offset: int, body: Body) -> Upload:
        """Write the bytes of `body` from `offset`; with the last one, the upload ends.

        The bytes that arrived before the client disconnected are kept, and its error is raised again. Raises
        `OffsetMismatch`, `UploadBusy`, `UploadNotFound`, the errors of `PartWriter.write` and of `settle`.
        """
        upload = await self.find(caller, id_, Protocol.TUS)
        if upload.outcome is not None:
            return returned_or_refused(upload)
        async with self.hold(upload) as (held, activity):
            if offset != held.upload.received:
                raise OffsetMismatch(received=held.upload.received, sent=offset)
            _check_length(held.upload, body)
            hold, sha256 = held, None
            if not hold.upload.complete:
                hold, sha256 = await self.receive(hold, body, activity)
            if hold.upload.complete:
                return returned_or_refused(await self._finishing.finish(caller, hold, sha256))
            return hold.upload

    async def settle(self, caller: Caller, id_: ImageId) -> Upload:
        """The upload; one with all its bytes is ended first, if the process that took the last one did not get there.

        Raises the error that has refused it, `UploadBusy`, `UploadNotFound`, `Unavailable`.
        """
        deadline = monotonic() + BUSY_SECONDS
        while True:
            upload = await self.find(caller, id_)
            if upload.outcome is not None:
                return returned_or_refused(upload)
            if not upload.complete:
                return await self._counted(upload)
            try:
                async with self.hold(upload) as (hold, _):
                    return returned_or_refused(await self._finishing.finish(caller, hold, None))
            except UploadBusy:
                if monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_SECONDS)

    async def cancel(self, caller: Caller, id_: ImageId) -> None:
        """Forget an upload and its bytes; of one that has ended, the image stays. Raises `UploadNotFound`."""
        upload = await self.find(caller, id_)
        if await self.forget(upload):
            metrics.UPLOADS_ENDED.add(upload.protocol, "cancelled")
        log.info("upload.cancelled", upload=upload.id)

    async def forget(self, upload: Upload) -> bool:
        """The same for any upload. False if it had ended already."""
        async with self._database.writing() as db:
            forgotten = await upload_rows.forget(db, upload.id)
        if forgotten is not None and forgotten.outcome is None and forgotten.handle is not None:
            with suppress(ObjectStoreUnavailable):  # the sweep finds what the store still has
                await self._objects.multipart.abort(forgotten.key, forgotten.handle)
        return forgotten is not None and forgotten.outcome is None

    async def end_of_ticket(self, ticket_id: str) -> None:
        """The ticket was revoked: what is under way by it is gone, and the next sweep removes its bytes."""
        async with self._database.writing() as db:
            await upload_rows.expire_of_ticket(db, ticket_id)

    @asynccontextmanager
    async def hold(self, upload: Upload) -> AsyncIterator[tuple[Hold, Activity]]:
        """Holds the upload for the block, as long as there is activity.

        Raises `UploadBusy`, or `UploadNotFound` if it has been cancelled meanwhile.
        """
        async with self._database.primary() as db:
            hold = await upload_rows.hold(db, upload.id)
        if hold is None:
            raise await self._lost(upload)
        try:
            activity = Activity()
            async with run_in_background(self._renew(hold, activity), "upload"):
                yield hold, activity
        except UploadBusy as error:
            raise await self._lost(upload) from error
        finally:
            await asyncio.shield(self._let_go(hold))

    async def _counted(self, upload: Upload) -> Upload:
        """Of an upload directly to the store, only the store knows how much has arrived."""
        if upload.protocol is not Protocol.DIRECT or upload.handle is None:
            return upload
        try:
            parts = await self._objects.multipart.list_parts(upload.key, upload.handle)
        except ObjectNotFound as error:  # the store has dropped them, or they were joined since
            raise UploadNotFound(upload=upload.id, cause=str(error)) from error
        return replace(upload, received=sum(part.size for part in parts))

    async def receive(self, hold: Hold, body: Body, activity: Activity) -> tuple[Hold, str | None]:
        """The hold on the longer upload, and the SHA-256 of the file if all of it was in this body.

        Raises the errors of `PartWriter.write`; a file that is refused for its bytes has ended then.
        """
        writer = PartWriter(self._database, self._objects, hold, at_once=body.at_once)
        try:
            with translate_disk_full():
                await writer.begin()
                async for block in _blocks(body, writer, activity):
                    await writer.write(block)
                body.check()
                await writer.finish()
        except (NotAPicture, TooManyAttempts) as error:
            await self._finishing.refuse(hold, error)
            raise
        except ObjectNotFound as error:
            raise UploadNotFound(upload=hold.upload.id, cause=str(error)) from error  # its objects have gone
        finally:
            writer.close()
        return Hold(writer.upload, hold.holder), writer.sha256

    def check_size(self, caller: Caller, size: int | None) -> None:
        """Raises `EmptyFile`, `TooLarge`."""
        if size == 0:
            raise EmptyFile
        limit = tickets.size_limit(caller, self._settings.max_bytes)
        if size is not None and size > limit:
            with tickets.size_limit_named(caller):
                raise TooLarge(length=size, limit=limit)

    async def _renew(self, hold: Hold, activity: Activity) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            change = upload_rows.offer if activity.stalled else upload_rows.renew
            try:
                async with self._database.primary() as db:
                    await change(db, hold)
            except DatabaseUnavailable as error:
                log.warning("upload.not_renewed", upload=hold.upload.id, error=str(error))

    async def _lost(self, upload: Upload) -> GalleryError:
        """Why a request does not hold the upload (any more)."""
        async with self._database.primary() as db:
            gone = await upload_rows.find(db, upload.id) is None
        return UploadNotFound(upload=upload.id) if gone else UploadBusy(upload=upload.id)

    async def _let_go(self, hold: Hold) -> None:
        try:
            async with self._database.primary() as db:
                await upload_rows.let_go(db, hold)
        except DatabaseUnavailable as error:
            log.warning("upload.not_let_go", upload=hold.upload.id, error=str(error))  # the hold ends by itself


def returned_or_refused(upload: Upload) -> Upload:
    """Raises the error that has refused the upload."""
    if upload.outcome is not None and upload.outcome.refusal is not None:
        raise upload.outcome.refusal
    return upload


def _check_length(upload: Upload, body: Body) -> None:
    """Raises `LongerThanSaid`, before the body is read, for one that says its size."""
    if upload.size is not None and body.size is not None and upload.received + body.size > upload.size:
        raise LongerThanSaid(size=upload.size)


async def _blocks(body: Body, writer: PartWriter, activity: Activity) -> AsyncIterator[bytes]:
    """The blocks of the body. When it breaks off, what has arrived is made safe before the error is raised again."""
    blocks = aiter(body)
    while True:
        try:
            with activity.waiting():
                block = await anext(blocks, None)
        except BaseException:
            if not body.at_once:
                await asyncio.shield(writer.finish())
            raise
        if block is None:
            return
        yield block
