"""Uploads become images: the original is put into the store, then one transaction makes the row and its event."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from msgspec import Struct

from gallery import failpoints
from gallery.access.model import Caller
from gallery.adapters.objects.content import Served
from gallery.adapters.objects.store import Objects
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import (
    ObjectStoreAway,
    QuotaExceeded,
)
from gallery.failpoints import Place
from gallery.images import object_rows, store, timeline
from gallery.images.jobs import call, ring_again, ring_for
from gallery.images.model import Draft, Image, ImageId, Photo, Status, new_id, original_key
from gallery.images.outbox import News
from gallery.images.timeline import Stage
from gallery.jobs.queue import Queue
from gallery.ops import metrics
from gallery.rendering.probe import Facts, Limits, probe

log = structlog.get_logger(__name__)


class Uploaded(Struct, frozen=True):
    """What came of an upload; `duplicate` says that the image was there already."""

    image: Image
    duplicate: bool = False


Seal: TypeAlias = Callable[[Connection, Uploaded], Awaitable[None]]


async def unsealed(db: Connection, uploaded: Uploaded) -> None:
    """Nothing is to be written with the upload."""


class NewImages:
    def __init__(
        self, database: Database, objects: Objects, queue: Queue, news: News, limits: Limits, quota: int = 0
    ) -> None:
        self._database = database
        self._objects = objects
        self._queue = queue
        self._news = news
        self._limits = limits
        self._quota = quota

    async def add(self, caller: Caller, photo: Photo, draft: Draft, seal: Seal = unsealed) -> Uploaded:
        """Keep a photo and its words; the image is PENDING until a worker has rendered it.

        The same bytes again are the image that the caller has, its words as they were; a FAILED one gets another try.
        `seal` writes into the transaction that decides. Raises `NotAPicture`, `TooManyPixels`, `SideTooLong`,
        `QuotaExceeded`, `Unavailable`.
        """
        found = await self._again(caller, photo, seal)
        if found is not None:
            return found
        facts = await asyncio.to_thread(probe, photo.file, self._limits)
        await self._check_room(caller, photo)
        image_id = new_id()
        await object_rows.reserve(self._database, image_id, None, [original_key(image_id)])
        await self._objects.put(original_key(image_id), photo.file, Served(facts.mime_type, photo.name or image_id))
        failpoints.at(Place.UPLOAD_PUT)
        while (uploaded := await self._insert_or_release(image_id, caller, photo, draft, facts, seal)) is None:
            found = await self._again(caller, photo, seal)
            if found is not None:  # somebody else was faster
                await self._release(image_id)
                return found
        failpoints.at(Place.UPLOAD_COMMITTED)
        await self._news.tell(uploaded.image)
        await call(self._queue, self._database, ring_for(uploaded.image))
        metrics.UPLOADED.add()
        metrics.UPLOAD_SIZE.observe(photo.size)
        failpoints.at(Place.UPLOAD_ANSWER)
        log.info("image.uploaded", image=image_id, size=photo.size, type=facts.mime_type)
        return uploaded

    async def _insert_or_release(
        self, image_id: ImageId, caller: Caller, photo: Photo, draft: Draft, facts: Facts, seal: Seal
    ) -> Uploaded | None:
        try:
            return await self._insert(image_id, caller, photo, draft, facts, seal)
        except QuotaExceeded:
            await self._release(image_id)
            raise

    async def _insert(
        self, image_id: ImageId, caller: Caller, photo: Photo, draft: Draft, facts: Facts, seal: Seal
    ) -> Uploaded | None:
        """`None` when the caller has an image of the same bytes by now."""
        async with self._database.writing() as db:
            image = await store.add(db, image_id, caller.owner, draft, photo, facts)
            if image is None:
                return None
            if self._quota and await store.storage(db, caller.owner) > self._quota:
                raise QuotaExceeded(size=photo.size, limit=self._quota)
            if not await object_rows.keep(db, [image.original_key]):  # it took longer than its reservation holds
                raise ObjectStoreAway(key=image.original_key)
            await self._news.write(db, "image.uploaded", image)
            await timeline.note(db, Stage.UPLOADED, image)
            await seal(db, Uploaded(image))
        return Uploaded(image)

    async def _again(self, caller: Caller, photo: Photo, seal: Seal) -> Uploaded | None:
        """The image that the caller has of the same bytes."""
        async with self._database.primary() as db:
            if await store.twin(db, caller.owner, photo.sha256) is None:
                return None
        async with self._database.writing() as db:
            twin = await store.twin(db, caller.owner, photo.sha256)
            if twin is None:
                return None
            revived = await store.revive(db, twin.id)
            if revived is not None:
                await self._news.write(db, "image.updated", revived)
                await timeline.note(db, Stage.UPLOADED_AGAIN, revived)
            uploaded = Uploaded(revived or twin, duplicate=True)
            await seal(db, uploaded)
        if revived is not None:
            await self._news.tell(revived)
            await call(self._queue, self._database, ring_for(revived))
        else:
            await self._ring_again(twin)
        metrics.UPLOADED_AGAIN.add()
        log.info("image.uploaded_again", image=twin.id, revived=revived is not None)
        return uploaded

    async def sent_again(self, image_id: ImageId) -> None:
        """Whoever sends an upload again may have had no answer because we died, and perhaps before anybody was rung."""
        async with self._database.primary() as db:
            image = await store.find(db, image_id)
        if image is not None:
            await self._ring_again(image)

    async def _ring_again(self, image: Image) -> None:
        if image.status is Status.PENDING:
            again = ring_again(image.id, image.attempt, image.lane, image.queue_place)
            await call(self._queue, self._database, again)

    async def _release(self, image_id: ImageId) -> None:
        async with self._database.writing() as db:
            await object_rows.release(db, image_id)

    async def _check_room(self, caller: Caller, photo: Photo) -> None:
        """A first look, so that nothing is stored for a quota that is full already. Raises `QuotaExceeded`."""
        if not self._quota:
            return
        async with self._database.primary() as db:
            used = await store.storage(db, caller.owner)
        if used + photo.size > self._quota:
            raise QuotaExceeded(size=photo.size, used=used, limit=self._quota)
