"""Adds images: a row reserves the original's key, the original is stored, and one statement adds the image."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import BinaryIO, TypeAlias

import structlog
from msgspec import Struct

from gallery import failpoints
from gallery.access.model import Caller
from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import Forbidden, QuotaExceeded, Rejected
from gallery.failpoints import Failpoint
from gallery.images import object_rows, timeline
from gallery.images import store as images
from gallery.images.jobs import enqueue, job_for, repeat_job
from gallery.images.model import Image, ImageId, Status, UploadedFile, UploadMetadata, new_id, original_key
from gallery.images.outbox import Outbox
from gallery.images.timeline import Stage
from gallery.jobs.queue import Queue
from gallery.ops import metrics
from gallery.rendering.probe import Limits, probe
from gallery.uploads import store
from gallery.uploads.store import new_image

log = structlog.get_logger(__name__)


class UploadResult(Struct, frozen=True):
    """The image of an upload. `duplicate`: the owner already had an image with the same bytes."""

    image: Image
    duplicate: bool = False


TransactionHook: TypeAlias = Callable[[Connection, UploadResult], Awaitable[None]]


async def no_hook(db: Connection, uploaded: UploadResult) -> None:
    """Adds nothing to the transaction of the upload."""


class _NotAdded(Exception):
    """Rolls the transaction back: the caller has an image with the same bytes by now."""


class NewImages:
    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        queue: Queue,
        outbox: Outbox,
        limits: Limits,
        quota_bytes: int = 0,
    ) -> None:
        self._database = database
        self._objects = objects
        self._queue = queue
        self._outbox = outbox
        self._limits = limits
        self._quota_bytes = quota_bytes

    def make_file(self) -> BinaryIO:
        """An empty file for an original of which the bytes are still arriving, in the store's file system if it can be.

        Raises `NoRoom`, `ObjectStoreUnavailable`.
        """
        return self._objects.temporary_file(original_key(ImageId("new")))

    async def add(
        self, caller: Caller, upload: UploadedFile, metadata: UploadMetadata, in_transaction: TransactionHook = no_hook
    ) -> UploadResult:
        """Store a photo and its metadata; the image is PENDING until a worker has rendered it.

        If the caller has an image with the same bytes, the result is that image with its own metadata, retried if it is
        FAILED. `in_transaction` runs in the transaction that adds or finds the image, and may refuse it. Raises
        `NotAPicture`, `TooManyPixels`, `SideTooLong`, `QuotaExceeded`, `Unavailable`.
        """
        try:
            facts = await asyncio.to_thread(probe, upload.file, self._limits)
        except Rejected:
            duplicate = await self._accept_duplicate(caller, upload, in_transaction)
            if duplicate is None:
                raise
            return duplicate  # from before the limits were lowered
        if upload.stored_as is not None:
            duplicate = await self._accept_duplicate(caller, upload, in_transaction)
            if duplicate is not None:
                return duplicate
            image = new_image(upload.stored_as, caller.owner, metadata, upload, facts, await self._database_time())
            return await self._add_stored(caller, image, upload, in_transaction)
        image_id = new_id()
        while (reserved_at := await self._reserve(image_id, caller, upload)) is None:
            duplicate = await self._accept_duplicate(caller, upload, in_transaction)
            if duplicate is not None:  # it may have been deleted meanwhile
                return duplicate
        image = new_image(image_id, caller.owner, metadata, upload, facts, reserved_at)
        await self._objects.put(
            image.original_key, upload.file, DownloadHeaders(facts.mime_type, upload.name or image_id)
        )
        failpoints.hit(Failpoint.UPLOAD_PUT)
        return await self._add_stored(caller, image, upload, in_transaction)

    async def _add_stored(
        self, caller: Caller, image: Image, upload: UploadedFile, in_transaction: TransactionHook
    ) -> UploadResult:
        """Add the image of which the original is in the store; the original is released where there is no new image."""
        try:
            while (added := await self._insert(image, in_transaction)) is None:
                duplicate = await self._accept_duplicate(caller, upload, in_transaction)
                if duplicate is not None:  # another upload of the same bytes was faster
                    await self._release(image.id)
                    return duplicate
        except (Rejected, Forbidden):  # by the quota or by `in_transaction`
            await self._release(image.id)
            raise
        failpoints.hit(Failpoint.UPLOAD_COMMITTED)
        await self._announce(added)
        return UploadResult(added)

    async def _announce(self, added: Image) -> None:
        """What follows the commit."""
        await self._outbox.publish(added)
        await enqueue(self._queue, self._database, job_for(added))
        metrics.UPLOADED.add()
        metrics.UPLOAD_SIZE.observe(added.size)
        failpoints.hit(Failpoint.UPLOAD_ANSWER)
        log.info("image.uploaded", image=added.id, size=added.size, type=added.mime_type)

    async def _reserve(self, image_id: ImageId, caller: Caller, upload: UploadedFile) -> datetime | None:
        """The time of the reservation of the original's key; `None` if the caller has an image with the same bytes.

        Raises `QuotaExceeded` for an upload that the quota has no space for, before it is stored.
        """
        async with self._database.primary() as db:
            reservation = await store.reserve(db, image_id, caller.owner, upload.sha256, upload.size, self._quota_bytes)
        if reservation.at is None and not reservation.duplicate:
            raise QuotaExceeded(size=upload.size, used=reservation.stored_bytes, limit=self._quota_bytes)
        return reservation.at

    async def _insert(self, image: Image, in_transaction: TransactionHook) -> Image | None:
        """The image as stored; `None` if the caller has an image with the same bytes by now."""
        uploaded = self._outbox.event("image.uploaded", image)
        if in_transaction is no_hook and not self._quota_bytes:
            async with self._database.primary() as db:  # the statement commits by itself
                return await store.add(db, image, uploaded)
        with suppress(_NotAdded):
            async with self._database.writing() as db:
                await in_transaction(db, UploadResult(image))
                added = await store.add(db, image, uploaded)  # last, since it makes the owner's other uploads wait
                if added is None:
                    raise _NotAdded
                if self._quota_bytes and await images.stored_bytes(db, image.owner) > self._quota_bytes:
                    raise QuotaExceeded(size=image.size, limit=self._quota_bytes)
            return added
        return None

    async def _accept_duplicate(
        self, caller: Caller, upload: UploadedFile, in_transaction: TransactionHook
    ) -> UploadResult | None:
        """The caller's image with the same bytes, retried if it is FAILED; `None` if there is none."""
        async with self._database.primary() as db:
            if await images.find_duplicate(db, caller.owner, upload.sha256) is None:
                return None
        async with self._database.writing() as db:
            duplicate = await images.find_duplicate(db, caller.owner, upload.sha256)
            if duplicate is None:
                return None
            revived = await images.revive(db, duplicate.id)
            if revived is not None:
                await self._outbox.add(db, "image.updated", revived)
                await timeline.add(db, Stage.UPLOADED_AGAIN, revived)
            added = UploadResult(revived or duplicate, duplicate=True)
            await in_transaction(db, added)
        if revived is not None:
            await self._outbox.publish(revived)
            await enqueue(self._queue, self._database, job_for(revived))
        else:
            await self._ensure_enqueued(duplicate)
        metrics.DUPLICATE_UPLOADS.add()
        log.info("image.uploaded_again", image=duplicate.id, revived=revived is not None)
        return added

    async def ensure_enqueued(self, image_id: ImageId) -> None:
        """Add a job for a PENDING image again: the process of its first upload may have died before it added one."""
        async with self._database.primary() as db:
            image = await images.find(db, image_id)
        if image is not None:
            await self._ensure_enqueued(image)

    async def _ensure_enqueued(self, image: Image) -> None:
        if image.status is Status.PENDING:
            job = repeat_job(image.id, image.attempt, image.lane, image.queue_position)
            await enqueue(self._queue, self._database, job)

    async def _database_time(self) -> datetime:
        async with self._database.primary() as db:
            now: datetime = await db.fetchval("SELECT now()")
        return now

    async def _release(self, image_id: ImageId) -> None:
        async with self._database.writing() as db:
            await object_rows.release(db, image_id)
