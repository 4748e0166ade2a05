"""The queue for operators: its state, pause and resume, failed images and failed jobs.

The rows in PostgreSQL are authoritative. While Valkey is unavailable its figures are left out, so that the page works
during an outage. A failed image, caused by the picture or an outage, is in its row; a failed *job* is a bug in Gallery.
"""

import structlog

from gallery.access.model import Caller
from gallery.adapters.postgres.database import Database
from gallery.admin import store
from gallery.admin.model import DoneView, FailureView, LaneView, PauseView, QueueView, RunningView, WorkerView
from gallery.errors import ImageNotFound, JobNotFound, NotFailed, StillProcessing, ValkeyUnavailable
from gallery.images.jobs import priority_range
from gallery.images.model import ImageId, Lane, Status
from gallery.images.service import Images
from gallery.jobs import pause
from gallery.jobs.progress import Progress
from gallery.jobs.queue import MAX_BULK as MOST_JOBS
from gallery.jobs.queue import FailedJob, Queue
from gallery.jobs.workers import WorkerRegistry
from gallery.paging import Cursor, Page

log = structlog.get_logger(__name__)

MAX_IMAGES = 500  # retried or dropped by one request


class Console:
    def __init__(self, database: Database, queue: Queue, worker_registry: WorkerRegistry, images: Images) -> None:
        self._database = database
        self._queue = queue
        self._worker_registry = worker_registry
        self._images = images

    async def state(self) -> QueueView:
        """The state of the queue, without Valkey's figures while it is unavailable. Raises `DatabaseUnavailable`."""
        async with self._database.primary() as db:
            at, paused = await store.now(db), await pause.since(db)
            backlog, running = await store.backlog(db), await store.running(db)
            failed, throughput = await store.reasons(db), await store.throughput(db)
        queued, jobs, progress = await self._read_queue()
        return QueueView(
            at=at,
            paused_since=paused,
            lanes=[LaneView(lane, *backlog.get(lane, (0, 0, None)), queued.get(lane)) for lane in Lane],
            jobs=jobs,
            bugs=None if jobs is None else jobs.pop("failed"),
            running=[_with_progress(progress.get(image.id), image) for image in running],
            failed=failed,
            workers=await self._workers(running),
            throughput=throughput,
        )

    async def _read_queue(self) -> tuple[dict[Lane, int], dict[str, int] | None, dict[str, Progress]]:
        try:
            queued = dict(
                zip(Lane, await self._queue.count_prioritized([priority_range(lane) for lane in Lane]), strict=True)
            )
            jobs = await self._queue.counts("failed")
            active = await self._queue.active(store.MAX_RUNNING)
        except ValkeyUnavailable as error:
            log.info("queue.unavailable", error=str(error))
            return {}, None, {}
        return queued, jobs, {job.subject: job.progress for job in active if job.progress}

    async def _workers(self, running: list[RunningView]) -> list[WorkerView]:
        return [
            WorkerView(
                name=worker.name,
                version=worker.version,
                concurrency=worker.concurrency,
                presence=worker.presence,
                started_at=worker.started_at,
                seen_at=worker.seen_at,
                doing=[image.id for image in running if image.worker == worker.name],
            )
            for worker in await self._worker_registry.read()
        ]

    # --- pause --------------------------------------------------------------------------------------------------------

    async def pause(self) -> PauseView:
        """Workers finish their current images and take no new ones."""
        async with self._database.writing() as db:
            await pause.begin(db)
            since = await pause.since(db)
        await self._apply_pause(paused=True)
        log.warning("queue.paused")
        return PauseView(since)

    async def resume(self) -> PauseView:
        async with self._database.writing() as db:
            await pause.end(db)
        await self._apply_pause(paused=False)
        log.info("queue.resumed")
        return PauseView(None)

    async def _apply_pause(self, *, paused: bool) -> None:
        try:
            await self._queue.apply_pause(paused)
        except ValkeyUnavailable as error:  # the sweep applies it later
            log.warning("queue.pause_not_applied", error=str(error))

    # --- images that failed -------------------------------------------------------------------------------------------

    async def failures(self, code: str | None, after: Cursor | None, limit: int) -> Page[FailureView]:
        async with self._database.primary() as db:
            return await store.failures(db, code, after, limit)

    async def retry(self, caller: Caller, image_id: ImageId) -> None:
        """Renders a FAILED image again, as if it were new. Raises `ImageNotFound`, `NotFailed`."""
        image = await self._images.get_owned(caller, image_id)
        if image.status is not Status.FAILED:
            raise NotFailed(image=image_id, status=image.status)
        await self._images.reprocess(caller, image_id)

    async def retry_all(self, caller: Caller, code: str | None) -> DoneView:
        """Retries the failed images on the list (with this code), newest first, at most `MAX_IMAGES`."""
        page = await self.failures(code, None, MAX_IMAGES)
        count = 0
        for failure in page.items:
            try:
                await self.retry(caller, ImageId(failure.id))
            except (ImageNotFound, NotFailed, StillProcessing):  # changed since the page was read
                continue
            count += 1
        return DoneView(count, page.next is not None)

    async def drop(self, image_id: ImageId) -> None:
        """Takes the image off the list. It stays FAILED and keeps its original; a later failure lists it again.

        Raises `NotFailed`.
        """
        async with self._database.writing() as db:
            if not await store.drop(db, image_id, None, 1):
                raise NotFailed(image=image_id)

    async def drop_all(self, code: str | None) -> DoneView:
        async with self._database.writing() as db:
            count = await store.drop(db, None, code, MAX_IMAGES)
        return DoneView(count, count == MAX_IMAGES)

    # --- jobs that failed: bugs ---------------------------------------------------------------------------------------

    async def failed_jobs(self, start: int, limit: int) -> list[FailedJob]:
        """Raises `ValkeyUnavailable`."""
        return await self._queue.failed_jobs(start, limit)

    async def retry_job(self, job_id: str) -> None:
        """Raises `JobNotFound`, `ValkeyUnavailable`."""
        await self._queue.retry(job_id)

    async def retry_jobs(self) -> DoneView:
        bugs = await self._queue.failed_jobs(0, MOST_JOBS)
        count = 0
        for bug in bugs:
            try:
                await self._queue.retry(bug.id)
            except JobNotFound:  # retried or dropped by another request
                continue
            count += 1
        return DoneView(count, len(bugs) == MOST_JOBS)

    async def drop_job(self, job_id: str) -> None:
        await self._queue.drop(job_id)

    async def drop_jobs(self) -> DoneView:
        count = await self._queue.drop_all()
        return DoneView(count, count == MOST_JOBS)


def _with_progress(progress: Progress | None, image: RunningView) -> RunningView:
    if progress is None:
        return image
    values = {name: getattr(image, name) for name in image.__struct_fields__}
    return RunningView(**{**values, "stage": progress.stage, "percent": progress.percent})
