"""Reading and changing images. Each call has its own transaction; the steps after its commit stand below it."""

from collections.abc import Collection, Sequence

import structlog

from gallery import failpoints
from gallery.access.model import Caller
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import ImageNotFound, StillProcessing, VersionMismatch
from gallery.failpoints import Failpoint
from gallery.images import listing, object_rows, store, timeline
from gallery.images.change_tokens import image_subject, owner_subject
from gallery.images.jobs import enqueue, job_for
from gallery.images.list_query import ListQuery
from gallery.images.model import Edit, Image, ImageId
from gallery.images.outbox import Outbox
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
        """The image, if the caller may see it, perhaps from a replica.

        Raises `ImageNotFound` when it is missing or private to another owner, `CredentialsRequired` when the caller is
        anonymous, `ScopeMissing` without `images:read`.
        """
        image = await self._database.read(lambda db: store.find(db, image_id), image_subject(image_id))
        return require_visible(caller, image_id, image)

    async def get_current(self, caller: Caller, image_id: ImageId) -> Image:
        """The same from the primary, so that it may be cached. Raises as `get` does."""
        async with self._database.primary() as db:
            image = await store.find(db, image_id)
        return require_visible(caller, image_id, image)

    async def find_visible(self, caller: Caller, image_ids: Sequence[ImageId]) -> list[Image]:
        """Those of these images that exist and that the caller may see, in this order."""
        async with self._database.primary() as db:
            images = await store.find_many(db, image_ids)
        return [image for image in images if caller.may_see(image.id, image.owner, public=image.public)]

    async def find_by_content(self, caller: Caller, digests: Collection[str]) -> dict[str, ImageId]:
        """The caller's own images whose originals have these SHA-256 (lower-case hex), by their SHA-256.

        From the primary: a client may delete its own copy of a file that it is told is here. Of an upload ticket, those
        that it has uploaded.
        """
        async with self._database.primary() as db:
            found = await store.find_by_content(db, caller.owner, digests)
        only = caller.only_images
        return {digest: image for digest, image in found.items() if only is None or image in only}

    async def get_owned(self, caller: Caller, image_id: ImageId) -> Image:
        """The image, if the caller may change it or has uploaded it by its ticket; `images:read` is not needed.

        Raises `ImageNotFound`.
        """
        async with self._database.primary() as db:
            image = await store.find(db, image_id)
        if image is None or not (caller.acts_for(image.owner) or caller.has_uploaded(image_id)):
            raise ImageNotFound(image=image_id)
        return image

    async def page(self, caller: Caller, query: ListQuery) -> Page[Image]:
        """A page of the caller's images that match the query, perhaps from a replica. Raises `InvalidField`."""
        owner, only = caller.owner, caller.only_images
        return await self._database.read(lambda db: listing.page(db, owner, query, only), owner_subject(owner))

    async def current_page(self, caller: Caller, query: ListQuery) -> Page[Image]:
        """The same from the primary, so that it may be cached. Raises `InvalidField`."""
        async with self._database.primary() as db:
            return await listing.page(db, caller.owner, query, caller.only_images)

    @property
    def has_replicas(self) -> bool:
        """Whether `get` and `page` may read from a replica."""
        return bool(self._database.replicas)

    async def edit(self, caller: Caller, image_id: ImageId, edit: Edit, versions: ExpectedVersions = None) -> Image:
        """Change the fields. With `versions`, only if the image has one of them.

        Raises `ImageNotFound`, `VersionMismatch`.
        """
        async with self._database.writing() as db:
            image = await store.edit(db, image_id, caller.owner_filter, edit, versions)
            if image is not None:
                await self._outbox.add(db, "image.updated", image)
        if image is None:
            raise await self._refusal(caller, image_id, versions)
        await self._outbox.publish(image)
        return image

    async def delete(self, caller: Caller, image_id: ImageId, versions: ExpectedVersions = None) -> Image:
        """Delete the image at once and for good; the sweep removes its objects later.

        Raises `ImageNotFound`, `VersionMismatch`.
        """
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
        """Make the image due again. A READY image stays READY, with its renditions, until the new ones are there.

        Raises `ImageNotFound`, `StillProcessing`.
        """
        async with self._database.writing() as db:
            image = await store.reprocess(db, image_id, caller.owner_filter)
            if image is not None:
                await self._outbox.add(db, "image.updated", image)
                await timeline.add(db, Stage.REPROCESS, image)
        if image is None:
            await self.get_owned(caller, image_id)  # raises if it is missing
            raise StillProcessing(image=image_id)
        await self._outbox.publish(image)
        await enqueue(self._queue, self._database, job_for(image))
        log.info("image.reprocess", image=image.id)
        return image

    async def timeline(self, caller: Caller, image_id: ImageId) -> list[TimelineEntry]:
        """The image's history, oldest entry first. Raises `ImageNotFound`."""

        async def read(db: Connection) -> list[TimelineEntry] | None:
            image = await store.find(db, image_id)
            return await timeline.read(db, image.id) if image and caller.acts_for(image.owner) else None

        entries = await self._database.read(read, image_subject(image_id))
        if entries is None:
            raise ImageNotFound(image=image_id)
        return entries

    async def _refusal(self, caller: Caller, image_id: ImageId, versions: ExpectedVersions) -> Exception:
        image = await self.get_owned(caller, image_id)  # raises if it is missing
        return VersionMismatch(image=image_id, version=image.version, wanted=versions)


def require_visible(caller: Caller, image_id: ImageId, image: Image | None) -> Image:
    """Raises `ImageNotFound`, `CredentialsRequired` or `ScopeMissing`, as `Images.get` does."""
    if image is None or not caller.may_see(image_id, image.owner, public=image.public):
        raise caller.not_visible_error(image_id)
    return image
