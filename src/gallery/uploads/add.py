"""Adds images: the original is put into the object store, then one transaction adds the row and its event."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from msgspec import Struct

from gallery import failpoints
from gallery.access.model import Caller
from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import ObjectStoreUnavailable, QuotaExceeded
from gallery.failpoints import Failpoint
from gallery.images import object_rows, store, timeline
from gallery.images.jobs import enqueue, job_for, repeat_job
from gallery.images.model import Image, ImageId, Status, UploadedFile, UploadMetadata, new_id, original_key
from gallery.images.outbox import Outbox
from gallery.images.timeline import Stage
from gallery.jobs.queue import Queue
from gallery.ops import metrics
from gallery.rendering.probe import Limits, ProbeResult, probe

log = structlog.get_logger(__name__)


class UploadResult(Struct, frozen=True):
    """The image of an upload. `duplicate`: the owner already had an image with the same bytes."""

    image: Image
    duplicate: bool = False


TransactionHook: TypeAlias = Callable[[Connection, UploadResult], Awaitable[None]]


async def no_hook(db: Connection, uploaded: UploadResult) -> None:
    """Adds nothing to the transaction of the upload."""


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

    async def add(
        self, caller: Caller, upload: UploadedFile, metadata: UploadMetadata, in_transaction: TransactionHook = no_hook
    ) -> UploadResult:
        """Store a photo and its metadata; the image is PENDING until a worker has rendered it.

        If the caller has an image with the same bytes, the result is that image with its own metadata, retried if it is
        FAILED. `in_transaction` runs in the transaction that adds or finds the image. Raises `NotAPicture`,
        `TooManyPixels`, `SideTooLong`, `QuotaExceeded`, `Unavailable`.
        """
        duplicate = await self._accept_duplicate(caller, upload, in_transaction)
        if duplicate is not None:
            return duplicate
        facts = await asyncio.to_thread(probe, upload.file, self._limits)
        await self._check_quota(caller, upload)
        image_id = new_id()
        await object_rows.reserve(self._database, image_id, None, [original_key(image_id)])
        await self._objects.put(
            original_key(image_id), upload.file, DownloadHeaders(facts.mime_type, upload.name or image_id)
        )
        failpoints.hit(Failpoint.UPLOAD_PUT)
        try:
            while (added := await self._insert(image_id, caller, upload, metadata, facts, in_transaction)) is None:
                duplicate = await self._accept_duplicate(caller, upload, in_transaction)
                if duplicate is not None:  # another upload of the same bytes was faster
                    await self._release(image_id)
                    return duplicate
        except QuotaExceeded:
            await self._release(image_id)
            raise
        failpoints.hit(Failpoint.UPLOAD_COMMITTED)
        await self._outbox.publish(added.image)
        await enqueue(self._queue, self._database, job_for(added.image))
        metrics.UPLOADED.add()
        metrics.UPLOAD_SIZE.observe(upload.size)
        failpoints.hit(Failpoint.UPLOAD_ANSWER)
        log.info("image.uploaded", image=image_id, size=upload.size, type=facts.mime_type)
        return added

    async def _insert(
        self,
        image_id: ImageId,
        caller: Caller,
        upload: UploadedFile,
        metadata: UploadMetadata,
        facts: ProbeResult,
        in_transaction: TransactionHook,
    ) -> UploadResult | None:
        """`None` if the caller has an image with the same bytes by now."""
        async with self._database.writing() as db:
            image = await store.add(db, image_id, caller.owner, metadata, upload, facts)
            if image is None:
                return None
            if self._quota_bytes and await store.stored_bytes(db, caller.owner) > self._quota_bytes:
                raise QuotaExceeded(size=upload.size, limit=self._quota_bytes)
            if not await object_rows.keep(db, [image.original_key]):  # the put outlasted its reservation
                raise ObjectStoreUnavailable(key=image.original_key)
            await self._outbox.add(db, "image.uploaded", image)
            await timeline.add(db, Stage.UPLOADED, image)
            await in_transaction(db, UploadResult(image))
        return UploadResult(image)

    async def _accept_duplicate(
        self, caller: Caller, upload: UploadedFile, in_transaction: TransactionHook
    ) -> UploadResult | None:
        """The caller's image with the same bytes, retried if it is FAILED; `None` if there is none."""
        async with self._database.primary() as db:
            if await store.find_duplicate(db, caller.owner, upload.sha256) is None:
                return None
        async with self._database.writing() as db:
            duplicate = await store.find_duplicate(db, caller.owner, upload.sha256)
            if duplicate is None:
                return None
            revived = await store.revive(db, duplicate.id)
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
            image = await store.find(db, image_id)
        if image is not None:
            await self._ensure_enqueued(image)

    async def _ensure_enqueued(self, image: Image) -> None:
        if image.status is Status.PENDING:
            job = repeat_job(image.id, image.attempt, image.lane, image.queue_position)
            await enqueue(self._queue, self._database, job)

    async def _release(self, image_id: ImageId) -> None:
        async with self._database.writing() as db:
            await object_rows.release(db, image_id)

    async def _check_quota(self, caller: Caller, upload: UploadedFile) -> None:
        """Refuse an upload before it is stored if the quota has no space for it. Raises `QuotaExceeded`."""
        if not self._quota_bytes:
            return
        async with self._database.primary() as db:
            used = await store.stored_bytes(db, caller.owner)
        if used + upload.size > self._quota_bytes:
            raise QuotaExceeded(size=upload.size, used=used, limit=self._quota_bytes)
