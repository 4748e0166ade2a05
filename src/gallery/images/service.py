"""What clients do with images. Each use case owns its transaction; what must follow the commit stands after it."""

import structlog

from gallery import failpoints
from gallery.access.model import Caller
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import (
    ImageNotFound,
    StillProcessing,
    VersionMismatch,
)
from gallery.failpoints import Failpoint
from gallery.images import listing, object_rows, store, timeline
from gallery.images.jobs import enqueue, job_for
from gallery.images.list_query import ListQuery
from gallery.images.model import Edit, Image, ImageId
from gallery.images.outbox import Outbox, image_subject, owner_subject
from gallery.images.store import ExpectedVersions
from gallery.images.timeline import Stage, TimelineEntry
from gallery.jobs.queue import Queue
from gallery.paging import Page

log = structlog.get_logger(__name__)


class Images:
    def __init__(self, database: Database, queue: Queue, outbox: Outbox) -> None:
        self._database = database
        self._queue = queue
        self._outbox = outbox

    async def get(self, caller: Caller, image_id: ImageId) -> Image:
        """Raises `ImageNotFound` for somebody else's image too, unless it is public; and of a stranger who they are."""
        image = await self._database.read(lambda db: store.find(db, image_id), image_subject(image_id))
        return _require_visible(caller, image_id, image)

    async def get_current(self, caller: Caller, image_id: ImageId) -> Image:
        """The same from the primary: what may be kept. Raises as `get` does."""
        async with self._database.primary() as db:
            image = await store.find(db, image_id)
        return _require_visible(caller, image_id, image)

    async def get_owned(self, caller: Caller, image_id: ImageId) -> Image:
        """An image that the caller may change: who writes hears of it, also without `images:read`.

        Raises `ImageNotFound`.
        """
        async with self._database.primary() as db:
            image = await store.find(db, image_id)
        if image is None or not caller.acts_for(image.owner):
            raise ImageNotFound(image=image_id)
        return image

    async def page(self, caller: Caller, query: ListQuery) -> Page[Image]:
        """The caller's images that have what is asked for. Raises `InvalidField`."""
        owner = caller.owner
        return await self._database.read(lambda db: listing.page(db, owner, query), owner_subject(owner))

    async def current_page(self, caller: Caller, query: ListQuery) -> Page[Image]:
        """The same from the primary: what may be kept. Raises `InvalidField`."""
        async with self._database.primary() as db:
            return await listing.page(db, caller.owner, query)

    @property
    def has_replicas(self) -> bool:
        """Whether what is not kept may be read from a replica."""
        return bool(self._database.replicas)

    async def edit(self, caller: Caller, image_id: ImageId, edit: Edit, versions: ExpectedVersions = None) -> Image:
        """Change the words. With `versions`, only if it has one of them. Raises `ImageNotFound`, `VersionMismatch`."""
        async with self._database.writing() as db:
            image = await store.edit(db, image_id, caller.owner_filter, edit, versions)
            if image is not None:
                await self._outbox.add(db, "image.updated", image)
        if image is None:
            raise await self._refusal(caller, image_id, versions)
        await self._outbox.publish(image)
        return image

    async def delete(self, caller: Caller, image_id: ImageId, versions: ExpectedVersions = None) -> Image:
        """Gone at once and for good; the sweep removes the objects. Raises `ImageNotFound`, `VersionMismatch`."""
        async with self._database.writing() as db:
            image = await store.delete(db, image_id, caller.owner_filter, versions)
            if image is not None:
                await object_rows.release(db, image_id)
                await self._outbox.add(db, "image.deleted", image)
        if image is None:
            raise await self._refusal(caller, image_id, versions)
        failpoints.hit(Failpoint.DELETE_COMMITTED)
        await self._outbox.publish(image)
        log.info("image.deleted", image=image.id)
        return image

    async def reprocess(self, caller: Caller, image_id: ImageId) -> Image:
        """Have it rendered again. A READY image stays so, with its renditions, until the new ones are there.

        Raises `ImageNotFound`, `StillProcessing`.
        """
        async with self._database.writing() as db:
            image = await store.reprocess(db, image_id, caller.owner_filter)
            if image is not None:
                await self._outbox.add(db, "image.updated", image)
                await timeline.add(db, Stage.REPROCESS, image)
        if image is None:
            await self.get_owned(caller, image_id)  # raises where there is none
            raise StillProcessing(image=image_id)
        await self._outbox.publish(image)
        await enqueue(self._queue, self._database, job_for(image))
        log.info("image.reprocess", image=image.id)
        return image

    async def timeline(self, caller: Caller, image_id: ImageId) -> list[TimelineEntry]:
        """What has happened to the image, oldest first. Raises `ImageNotFound`."""

        async def read(db: Connection) -> list[TimelineEntry] | None:
            image = await store.find(db, image_id)
            return await timeline.read(db, image.id) if image and caller.acts_for(image.owner) else None

        entries = await self._database.read(read, image_subject(image_id))
        if entries is None:
            raise ImageNotFound(image=image_id)
        return entries

    async def _refusal(self, caller: Caller, image_id: ImageId, versions: ExpectedVersions) -> Exception:
        image = await self.get_owned(caller, image_id)  # raises where there is none
        return VersionMismatch(image=image_id, version=image.version, wanted=versions)


def _require_visible(caller: Caller, image_id: ImageId, image: Image | None) -> Image:
    if image is None or not caller.may_see(image_id, image.owner, public=image.public):
        raise caller.not_visible_error(image_id)
    return image
