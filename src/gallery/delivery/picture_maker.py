"""Makes one picture on demand: claims it for this process, renders it in a child process, stores it, keeps it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import structlog
from msgspec import Struct

from gallery import failpoints
from gallery.adapters.objects.content import DownloadHeaders, content_size
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Database
from gallery.background import cancel_and_wait, run_in_background
from gallery.delivery import picture_store
from gallery.delivery.picture_source import choose_source
from gallery.delivery.picture_store import PictureId, PictureRow
from gallery.errors import (
    DatabaseUnavailable,
    GalleryError,
    ImageNotFound,
    ObjectDamaged,
    ObjectNotFound,
    PictureNotMade,
    RendererFailed,
    describe_error,
)
from gallery.failpoints import Failpoint
from gallery.images.model import Image, picture_key
from gallery.local_disk.scratch import open_outputs, work_folder
from gallery.local_disk.space import translate_disk_full
from gallery.ops import metrics
from gallery.renderers.lazy import LazyRenderers
from gallery.renderers.pool import RendererPool
from gallery.rendering.picture import render_picture
from gallery.rendering.picture_spec import PictureSpec
from gallery.rendering.probe import Limits
from gallery.rendering.rendered import RenderedPicture

log = structlog.get_logger(__name__)

SOURCE, OUTPUT = "source", "picture"  # files in a job's folder
LEASE = timedelta(seconds=6)  # of a claim, renewed while its process works
RENEW_SECONDS = 2.0


class PictureOrder(Struct, frozen=True):
    """A picture to be made from an image; `digest` names it among the image's pictures."""

    image: Image
    spec: PictureSpec
    digest: str

    @property
    def id(self) -> PictureId:
        return PictureId(self.image.id, self.digest)


class RenderTime:
    """The seconds that a job has kept a renderer busy, also when it failed."""

    seconds = 0.0


@contextmanager
def measured(render_time: RenderTime) -> Iterator[None]:
    began, outcome = time.monotonic(), "failed"
    try:
        yield
        outcome = "made"
    finally:
        seconds = time.monotonic() - began
        render_time.seconds += seconds
        metrics.PICTURES_MADE.observe(seconds, outcome)


class PictureMaker:
    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        renderers: LazyRenderers,
        limits: Limits,
        max_per_image: int,
    ) -> None:
        self._database = database
        self._objects = objects
        self._renderers = renderers
        self._limits = limits
        self._max_per_image = max_per_image

    @property
    def renderers_opened(self) -> bool:
        return self._renderers.opened

    async def close(self) -> None:
        await self._renderers.close()

    async def make(self, order: PictureOrder, render_time: RenderTime) -> PictureRow | None:
        """Makes the picture and returns its row; `None` if it is kept already, if another process makes it, or if it
        has failed too often. A failed renderer is a strike.

        Raises `PictureNotMade` when a renderer has failed, `Rejected` for an original that cannot be rendered as asked,
        `ImageNotFound` when the image was deleted meanwhile, `Unavailable`.
        """
        claim_id = uuid4()
        key = picture_key(order.image.id, str(claim_id), order.spec.format)
        async with self._database.primary() as db:
            if not await picture_store.claim(db, order.id, claim_id, LEASE, key):
                return None
        failpoints.hit(Failpoint.PICTURE_CLAIMED)
        try:
            async with run_in_background(self._keep_renewing(order, claim_id), "picture lease"):
                return await self._make(order, claim_id, key, render_time)
        except RendererFailed as error:
            await self._give_up(order, claim_id, key, strike=True)
            log.warning("picture.renderer_failed", image=order.image.id, error=str(error))
            raise PictureNotMade(image=order.image.id, cause=error.code()) from error
        except BaseException:  # a cancellation, too: others need not wait for the end of the lease
            await asyncio.shield(self._give_up(order, claim_id, key))
            raise

    async def _keep_renewing(self, order: PictureOrder, claim_id: UUID) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(DatabaseUnavailable):  # then another process may make the picture, too
                async with self._database.primary() as db:
                    await picture_store.renew(db, order.id, claim_id, LEASE)

    async def _give_up(self, order: PictureOrder, claim_id: UUID, key: str, *, strike: bool = False) -> None:
        with suppress(DatabaseUnavailable):  # then the lease ends
            async with self._database.primary() as db:
                await picture_store.give_up(db, order.id, claim_id, key, strike=strike)

    async def _make(self, order: PictureOrder, claim_id: UUID, key: str, render_time: RenderTime) -> PictureRow:
        renderers = await self._renderers.get()
        with translate_disk_full(), work_folder(renderers.scratch) as folder:
            room = asyncio.create_task(self._make_room(order.image), name="room for a picture")
            try:
                await self._fetch(order, folder / SOURCE)
                with measured(render_time):
                    made = await self._render(renderers.pool, order, folder)
                await room
            finally:
                await cancel_and_wait(room)
            size = await self._put(key, order, folder)
        await self._keep(order, claim_id, key, made, size)
        return PictureRow(key, made.width, made.height, size, str(claim_id))

    async def _make_room(self, image: Image) -> None:
        """Evicts what would be too many pictures with this one."""
        async with self._database.primary() as db:
            await picture_store.evict_of_image(db, image.id, self._max_per_image - 1)

    async def _fetch(self, order: PictureOrder, target: Path) -> None:
        """Copies a kept rendition if it is good enough, else the original."""
        image = order.image
        rendition = choose_source(image, order.spec)
        if rendition is not None:
            try:
                await self._objects.fetch(image.rendition_key(rendition), target, size=rendition.size)
            except (ObjectNotFound, ObjectDamaged) as error:
                log.warning("picture.rendition_lost", image=image.id, error=str(error))
            else:
                return
        await self._objects.fetch(image.original_key, target, size=image.size, sha256=image.sha256)

    async def _render(self, pool: RendererPool, order: PictureOrder, folder: Path) -> RenderedPicture:
        sides = order.image.width or 0, order.image.height or 0
        try:
            return await pool.run(render_picture, folder / SOURCE, folder / OUTPUT, order.spec, sides, self._limits)
        except GalleryError:
            raise
        except Exception as error:  # decoders parse untrusted bytes and may raise any error
            log.warning("picture.unexpected_error", exc_info=error)
            raise RendererFailed(reason=describe_error(error)[:200]) from error

    async def _put(self, key: str, order: PictureOrder, folder: Path) -> int:
        """Stores the picture; returns its size in bytes."""
        with open_outputs(folder, [OUTPUT]) as [file]:
            size = content_size(file)
            format_ = order.spec.format
            await self._objects.put(key, file, DownloadHeaders(f"image/{format_}", f"{order.image.id}.{format_}"))
        failpoints.hit(Failpoint.PICTURE_PUT)
        return size

    async def _keep(self, order: PictureOrder, claim_id: UUID, key: str, made: RenderedPicture, size: int) -> None:
        """Raises `ImageNotFound`."""
        async with self._database.primary() as db:
            if not await picture_store.keep(db, order.id, claim_id, key, (made.width, made.height), size):
                raise ImageNotFound(image=order.image.id)
        log.info(
            "picture.made",
            image=order.image.id,
            format=order.spec.format,
            width=made.width,
            height=made.height,
            size=size,
        )
