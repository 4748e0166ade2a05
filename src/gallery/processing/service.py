"""From PENDING to READY or FAILED: claim, fetch, render, put, settle.

A claim gives an image to one worker for the time of a lease, which is renewed while the worker works. `attempt` is the
fence: a worker that has lost its lease can change nothing any more. Each kind of failure has its own outcome:

- the picture is bad: FAILED at once;
- its renderer died, hung or ran out of memory: a strike, and FAILED after three;
- a server is unavailable: tried again later, without a limit;
- the worker was lost: its lease expires and the sweep enqueues the image; FAILED after ten in a row.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
from msgspec import Struct

from gallery import failpoints
from gallery.adapters.objects.content import DownloadHeaders, PutRequest
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import (
    DatabaseUnavailable,
    FileGone,
    GalleryError,
    ObjectNotFound,
    Rejected,
    RendererFailed,
    Unavailable,
    WorkerLost,
    describe_error,
)
from gallery.failpoints import Failpoint
from gallery.images import object_rows, store, timeline
from gallery.images.jobs import enqueue, job_for, job_later
from gallery.images.model import Image, ImageId, Status, rendition_key
from gallery.images.outbox import Outbox
from gallery.images.timeline import Stage
from gallery.jobs import pause, progress
from gallery.jobs.queue import Queue
from gallery.local_disk.scratch import open_outputs, work_folder
from gallery.local_disk.space import translate_disk_full
from gallery.ops import metrics
from gallery.processing.lease import LeaseLost, run_under_lease
from gallery.processing.retries import backoff, retry_while_unavailable
from gallery.processing.timing import step
from gallery.renderers.pool import RendererPool
from gallery.rendering.pipeline import render
from gallery.rendering.recipe import Recipe
from gallery.rendering.rendered import Rendered

log = structlog.get_logger(__name__)

MAX_STRIKES = 3
MAX_LOSSES = 10
MIN_ATTEMPTS_AHEAD = 2
REPLACED_RETENTION = timedelta(hours=24)  # for clients that still have the URLs of replaced renditions


def max_attempts(renderers: int) -> int:
    """How many attempts a worker makes at once: more than it has renderers, so that a renderer waits for no claim,
    fetch or put. The others wait with their originals on disk.
    """
    return renderers + max(MIN_ATTEMPTS_AHEAD, renderers // 2)


class WorkerResources(Struct, frozen=True):
    """One worker's name, the length of its leases, its renderers, its scratch directory and its recipe."""

    name: str
    lease: timedelta
    pool: RendererPool
    scratch: Path
    recipe: Recipe


class Reschedule(Struct, frozen=True):
    """Why an image is given back, its counts of strikes and deferrals, and the delay until it is due again."""

    stage: Stage
    strikes: int
    deferrals: int
    delay: timedelta
    code: str | None = None


class Processing:
    def __init__(
        self, database: Database, objects: ObjectStore, queue: Queue, outbox: Outbox, resources: WorkerResources
    ) -> None:
        self._database = database
        self._objects = objects
        self._queue = queue
        self._outbox = outbox
        self._resources = resources

    @property
    def name(self) -> str:
        return self._resources.name

    async def process(self, image_id: ImageId) -> None:
        """Makes one attempt at an image that is due; enqueues a job for later when it is not due yet.

        Waits for an unavailable database: otherwise the image would wait for the sweep, or for the end of its lease.
        """
        image = await retry_while_unavailable(lambda: self._claim_shielded(image_id))
        if image is not None:
            await self._run_attempt(image)

    async def _claim_shielded(self, image_id: ImageId) -> Image | None:
        """Finishes a claim even when cancelled, and gives the image back then: else it would wait for a whole lease."""
        claiming = asyncio.ensure_future(self._claim(image_id))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(DatabaseUnavailable):  # the claim most likely failed; if not, its lease expires
                if (image := await claiming) is not None:
                    await self._hand_back(image)
            raise

    async def _claim(self, image_id: ImageId) -> Image | None:
        async with self._database.writing() as db:
            image = await store.claim(db, image_id, self._resources.lease, self._resources.name)
            if image is not None:
                await timeline.add_claim(db, image, self._resources.name)
                if image.status is Status.PROCESSING:
                    await self._outbox.add(db, "image.processing", image)
            wait = None if image else await self._delay_until_due(db, image_id)
        if image is not None:
            failpoints.hit(Failpoint.WORK_CLAIMED)
            if image.losses:
                metrics.ATTEMPTS.add(Stage.LOST)
            await self._outbox.publish(image)
        elif wait is not None:
            await enqueue(self._queue, self._database, job_later(image_id, wait))
        return image

    async def _delay_until_due(self, db: Connection, image_id: ImageId) -> timedelta | None:
        """The time until the image can be claimed. `None` while the queue is paused: the sweep enqueues it later."""
        if await pause.since(db) is None:
            return await store.time_until_due(db, image_id)
        await store.mark_not_enqueued(db, image_id)
        return None

    async def _run_attempt(self, image: Image) -> None:
        if image.losses >= MAX_LOSSES:
            return await self._fail(image, WorkerLost(losses=image.losses))
        try:
            await run_under_lease(self._database, image, self._resources.lease, self._render_attempt(image))
        except Rejected as error:
            await self._fail(image, error)
        except RendererFailed as error:
            await self._strike(image, error)
        except (Unavailable, ObjectNotFound) as error:
            await self._defer(image, error)
        except LeaseLost:
            await self._abandon(image)
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_back(image))
            raise

    async def _render_attempt(self, image: Image) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        with translate_disk_full(), work_folder(self._resources.scratch) as target:
            original = target / "original"
            progress.report("fetching", 5)
            with step("fetch") as fetching:
                await self._objects.fetch(image.original_key, original, size=image.size, sha256=image.sha256)
            progress.report("waiting", 15)
            async with self._renderer():
                progress.report("rendering", 20)
                with step("render") as rendering:
                    rendered = await self._render(original, target)
            progress.report("storing", 80)
            with step("put"):
                await self._put(image, rendered, target)
        failpoints.hit(Failpoint.WORK_PUT)
        with step("settle"):
            await self._settle(image, rendered)
        log.info(
            "image.ready",
            image=image.id,
            attempt=image.attempt,
            fetch=round(fetching.seconds, 3),
            render=round(rendering.seconds, 3),
            seconds=round(clock() - began, 3),
        )

    @asynccontextmanager
    async def _renderer(self) -> AsyncIterator[None]:
        """Waits for a free renderer, and holds it during the block."""
        with step("wait"):
            await self._resources.pool.slots.acquire()
        try:
            yield
        finally:
            self._resources.pool.slots.release()

    async def _render(self, original: Path, target: Path) -> Rendered:
        try:
            rendered = await self._resources.pool.run(render, original, target, self._resources.recipe)
        except Exception as error:  # decoders parse untrusted bytes and may raise any error
            if not await asyncio.to_thread(original.exists):  # its file was removed: not the picture's fault
                raise FileGone(cause=describe_error(error)) from error
            if isinstance(error, GalleryError):
                raise
            log.warning("image.unexpected_error", exc_info=error)
            raise RendererFailed(reason=describe_error(error)[:200]) from error
        if not self._resources.recipe.includes((each.name, each.format) for each in rendered.renditions):
            raise RendererFailed(reason="it returned renditions that are not in its recipe")
        return rendered

    async def _put(self, image: Image, rendered: Rendered, folder: Path) -> None:
        await object_rows.reserve(self._database, image.id, image.attempt, _rendition_keys(image, rendered))
        names = [f"{each.name}.{each.format}" for each in rendered.renditions]
        with open_outputs(folder, names) as files:
            puts = [
                PutRequest(key, file, DownloadHeaders(f"image/{each.format}", f"{image.id}-{name}"))
                for key, file, name, each in zip(
                    _rendition_keys(image, rendered), files, names, rendered.renditions, strict=True
                )
            ]
            await self._objects.put_all(puts)

    async def _settle(self, image: Image, rendered: Rendered) -> None:
        async with self._database.writing() as db:
            ready = await store.settle_ready(db, image, self._resources.recipe.version, rendered)
            if ready is None or not await object_rows.keep(db, _rendition_keys(image, rendered)):
                raise LeaseLost
            if image.rendered_attempt is not None:
                await object_rows.release(db, image.id, image.rendered_attempt, REPLACED_RETENTION)
            await timeline.add(db, Stage.READY, ready)
            await self._outbox.add(db, "image.ready", ready)
        failpoints.hit(Failpoint.WORK_SETTLED)
        metrics.ATTEMPTS.add(Stage.READY)
        if image.rendered_attempt is None:
            metrics.TIME_TO_READY.observe((ready.updated_at - ready.created_at).total_seconds())
        await self._outbox.publish(ready)

    async def _fail(self, image: Image, error: GalleryError) -> None:
        failed = await retry_while_unavailable(partial(self._settle_failed, image, error))
        if failed is not None:
            metrics.ATTEMPTS.add(Stage.FAILED)
            metrics.FAILURES.add(error.code())
            await self._outbox.publish(failed)
            log.warning("image.failed", image=image.id, attempt=image.attempt, error=str(error))

    async def _settle_failed(self, image: Image, error: GalleryError) -> Image | None:
        async with self._database.writing() as db:
            failed = await store.settle_failed(db, image, error.code(), error.message())
            if failed is not None:
                await timeline.add(db, Stage.FAILED, failed, code=error.code())
                was_ready = failed.status is Status.READY
                await self._outbox.add(db, "image.updated" if was_ready else "image.failed", failed)
        return failed

    async def _strike(self, image: Image, error: RendererFailed) -> None:
        strikes = image.strikes + 1
        log.warning("image.strike", image=image.id, attempt=image.attempt, strikes=strikes, error=str(error))
        if strikes >= MAX_STRIKES:
            await self._fail(image, error)
        else:
            reschedule = Reschedule(Stage.STRIKE, strikes, image.deferrals, backoff(strikes), error.code())
            await retry_while_unavailable(partial(self._reschedule, image, reschedule))

    async def _defer(self, image: Image, error: GalleryError) -> None:
        deferrals = image.deferrals + 1
        log.warning("image.deferred", image=image.id, attempt=image.attempt, deferrals=deferrals, error=str(error))
        reschedule = Reschedule(Stage.DEFERRED, image.strikes, deferrals, backoff(deferrals), error.code())
        await retry_while_unavailable(partial(self._reschedule, image, reschedule))

    async def _hand_back(self, image: Image) -> None:
        """Tries once only, since this process is about to end."""
        try:
            await self._reschedule(image, Reschedule(Stage.HANDED_BACK, image.strikes, image.deferrals, timedelta()))
        except DatabaseUnavailable as error:  # the lease expires, and the sweep enqueues the image
            log.warning("image.not_handed_back", image=image.id, error=str(error))

    async def _reschedule(self, image: Image, reschedule: Reschedule) -> None:
        async with self._database.writing() as db:
            due = await store.reschedule(db, image, reschedule.strikes, reschedule.deferrals, reschedule.delay)
            if due is not None:
                await timeline.add(db, reschedule.stage, due, code=reschedule.code, next_attempt_at=due.next_attempt_at)
            await object_rows.release(db, image.id, image.attempt)
        if due is not None:
            metrics.ATTEMPTS.add(reschedule.stage)
            await self._outbox.publish(due)
            await enqueue(self._queue, self._database, job_for(due, reschedule.delay))

    async def _abandon(self, image: Image) -> None:
        """Another worker has the image, or it was deleted: releases only the objects of this attempt."""
        metrics.ATTEMPTS.add("withdrawn")
        log.info("image.lost", image=image.id, attempt=image.attempt)
        await retry_while_unavailable(partial(self._release, image))

    async def _release(self, image: Image) -> None:
        async with self._database.writing() as db:
            await object_rows.release(db, image.id, image.attempt)


def _rendition_keys(image: Image, rendered: Rendered) -> list[str]:
    return [rendition_key(image.id, image.attempt, r.name, r.format) for r in rendered.renditions]
