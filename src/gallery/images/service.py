"""What clients do with images. Each use case owns its transaction; what must follow the commit stands after it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

import structlog
from msgspec import Struct

from gallery import crash
from gallery.access.model import Caller
from gallery.adapters.content import Served
from gallery.adapters.database import Connection, Database
from gallery.adapters.objects import Objects
from gallery.crash import Place
from gallery.errors import (
    ImageNotFound,
    ObjectDamaged,
    ObjectStoreAway,
    QuotaExceeded,
    StillProcessing,
    VersionMismatch,
)
from gallery.images import keys, listing, store, timeline
from gallery.images.model import Draft, Edit, Image, ImageId, Photo, Status, new_id, original_key
from gallery.images.news import News, of_image, of_owner
from gallery.images.question import Question
from gallery.images.store import Versions
from gallery.images.tasks import call, ring_again, ring_for
from gallery.images.timeline import Entry, Stage
from gallery.jobs.queue import Queue
from gallery.ops import metrics
from gallery.paging import Page
from gallery.rendering.probe import Facts, Limits, probe

log = structlog.get_logger(__name__)

DOWNLOAD = timedelta(hours=1)


class Uploaded(Struct, frozen=True):
    """What came of an upload; `duplicate` says that the image was there already."""

    image: Image
    duplicate: bool = False


Seal: TypeAlias = Callable[[Connection, Uploaded], Awaitable[None]]


async def unsealed(db: Connection, uploaded: Uploaded) -> None:
    """Nothing is to be written with the upload."""


class Images:
    def __init__(
        self, database: Database, objects: Objects, queue: Queue, news: News, limits: Limits, quota: int = 0
    ) -> None:
        self._database = database
        self._objects = objects
        self._queue = queue
        self._news = news
        self._limits = limits
        self._quota = quota

    async def upload(self, caller: Caller, photo: Photo, draft: Draft, seal: Seal = unsealed) -> Uploaded:
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
        await keys.reserve(self._database, image_id, None, [original_key(image_id)])
        await self._objects.put(original_key(image_id), photo.file, Served(facts.mime_type, photo.name or image_id))
        crash.at(Place.UPLOAD_PUT)
        while (uploaded := await self._add_or_release(image_id, caller, photo, draft, facts, seal)) is None:
            found = await self._again(caller, photo, seal)
            if found is not None:  # somebody else was faster
                await self._release(image_id)
                return found
        crash.at(Place.UPLOAD_COMMITTED)
        await self._news.tell(uploaded.image)
        await call(self._queue, self._database, ring_for(uploaded.image))
        metrics.UPLOADED.add()
        metrics.UPLOAD_SIZE.observe(photo.size)
        crash.at(Place.UPLOAD_ANSWER)
        log.info("image.uploaded", image=image_id, size=photo.size, type=facts.mime_type)
        return uploaded

    async def _add_or_release(
        self, image_id: ImageId, caller: Caller, photo: Photo, draft: Draft, facts: Facts, seal: Seal
    ) -> Uploaded | None:
        try:
            return await self._add(image_id, caller, photo, draft, facts, seal)
        except QuotaExceeded:
            await self._release(image_id)
            raise

    async def _add(
        self, image_id: ImageId, caller: Caller, photo: Photo, draft: Draft, facts: Facts, seal: Seal
    ) -> Uploaded | None:
        """`None` when the caller has an image of the same bytes by now."""
        async with self._database.writing() as db:
            image = await store.add(db, image_id, caller.owner, draft, photo, facts)
            if image is None:
                return None
            if self._quota and await store.storage(db, caller.owner) > self._quota:
                raise QuotaExceeded(size=photo.size, limit=self._quota)
            if not await keys.keep(db, [image.original_key]):  # it took longer than its reservation holds
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
            await keys.release(db, image_id)

    async def get(self, caller: Caller, image_id: ImageId) -> Image:
        """Raises `ImageNotFound` for somebody else's image too, unless it is public; and of a stranger who they are."""
        image = await self._database.read(lambda db: store.find(db, image_id), of_image(image_id))
        return _seen(caller, image_id, image)

    async def current(self, caller: Caller, image_id: ImageId) -> Image:
        """The same from the primary: what may be kept. Raises as `get` does."""
        async with self._database.primary() as db:
            image = await store.find(db, image_id)
        return _seen(caller, image_id, image)

    async def own(self, caller: Caller, image_id: ImageId) -> Image:
        """An image that the caller may change: who writes hears of it, also without `images:read`.

        Raises `ImageNotFound`.
        """
        async with self._database.primary() as db:
            image = await store.find(db, image_id)
        if image is None or not caller.acts_for(image.owner):
            raise ImageNotFound(image=image_id)
        return image

    async def page(self, caller: Caller, question: Question) -> Page[Image]:
        """The caller's images that have what is asked for. Raises `InvalidField`."""
        owner = caller.owner
        return await self._database.read(lambda db: listing.page(db, owner, question), of_owner(owner))

    async def current_page(self, caller: Caller, question: Question) -> Page[Image]:
        """The same from the primary: what may be kept. Raises `InvalidField`."""
        async with self._database.primary() as db:
            return await listing.page(db, caller.owner, question)

    @property
    def replicated(self) -> bool:
        """Whether what is not kept may be read from a replica."""
        return bool(self._database.replicas)

    async def edit(self, caller: Caller, image_id: ImageId, edit: Edit, versions: Versions = None) -> Image:
        """Change the words. With `versions`, only if it has one of them. Raises `ImageNotFound`, `VersionMismatch`."""
        async with self._database.writing() as db:
            image = await store.edit(db, image_id, caller.reach, edit, versions)
            if image is not None:
                await self._news.write(db, "image.updated", image)
        if image is None:
            raise await self._why_not(caller, image_id, versions)
        await self._news.tell(image)
        return image

    async def delete(self, caller: Caller, image_id: ImageId, versions: Versions = None) -> Image:
        """Gone at once and for good; the sweep removes the objects. Raises `ImageNotFound`, `VersionMismatch`."""
        async with self._database.writing() as db:
            image = await store.delete(db, image_id, caller.reach, versions)
            if image is not None:
                await keys.release(db, image_id)
                await self._news.write(db, "image.deleted", image)
        if image is None:
            raise await self._why_not(caller, image_id, versions)
        crash.at(Place.DELETE_COMMITTED)
        await self._news.tell(image)
        log.info("image.deleted", image=image.id)
        return image

    async def reprocess(self, caller: Caller, image_id: ImageId) -> Image:
        """Have it rendered again. A READY image stays so, with its renditions, until the new ones are there.

        Raises `ImageNotFound`, `StillProcessing`.
        """
        async with self._database.writing() as db:
            image = await store.reprocess(db, image_id, caller.reach)
            if image is not None:
                await self._news.write(db, "image.updated", image)
                await timeline.note(db, Stage.REPROCESS, image)
        if image is None:
            await self.own(caller, image_id)  # raises where there is none
            raise StillProcessing(image=image_id)
        await self._news.tell(image)
        await call(self._queue, self._database, ring_for(image))
        log.info("image.reprocess", image=image.id)
        return image

    async def timeline(self, caller: Caller, image_id: ImageId) -> list[Entry]:
        """What has happened to the image, oldest first. Raises `ImageNotFound`."""

        async def read(db: Connection) -> list[Entry] | None:
            image = await store.find(db, image_id)
            return await timeline.read(db, image.id) if image and caller.acts_for(image.owner) else None

        entries = await self._database.read(read, of_image(image_id))
        if entries is None:
            raise ImageNotFound(image=image_id)
        return entries

    async def open(self, key: str, size: int, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes of an original or a rendition of that size, from `start` until before `end`.

        Raises `ObjectNotFound`, `ObjectDamaged`, `ObjectStoreAway`.
        """
        there, chunks = await self._objects.open(key, start, end)
        if there != size:
            raise ObjectDamaged(key=key, size=size, there=there)
        return chunks

    async def download_url(self, caller: Caller, image_id: ImageId) -> str | None:
        """A URL of the object store's for the original, good for `DOWNLOAD`; `None` where it gives none out."""
        image = await self.get(caller, image_id)
        return await self._objects.sign(image.original_key, DOWNLOAD)

    async def _check_room(self, caller: Caller, photo: Photo) -> None:
        """A first look, so that nothing is stored for a quota that is full already. Raises `QuotaExceeded`."""
        if not self._quota:
            return
        async with self._database.primary() as db:
            used = await store.storage(db, caller.owner)
        if used + photo.size > self._quota:
            raise QuotaExceeded(size=photo.size, used=used, limit=self._quota)

    async def _why_not(self, caller: Caller, image_id: ImageId, versions: Versions) -> Exception:
        image = await self.own(caller, image_id)  # raises where there is none
        return VersionMismatch(image=image_id, version=image.version, wanted=versions)


def _seen(caller: Caller, image_id: ImageId, image: Image | None) -> Image:
    if image is None or not caller.sees(image_id, image.owner, public=image.public):
        raise caller.not_seen(image_id)
    return image
