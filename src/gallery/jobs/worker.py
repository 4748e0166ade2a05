"""A BullMQ worker that passes each job to its handler, several at once.

A handler raises only for bugs; BullMQ then keeps the job as failed, with its stack. The row of an image, not the queue,
holds when the image is due, which worker has it and when it is retried.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, TypeAlias

import structlog
from bullmq import Job as BullJob
from bullmq import Worker as BullWorker
from redis.asyncio.cluster import RedisCluster

from gallery.adapters.valkey.client import UNAVAILABLE_ERRORS, connect
from gallery.background import RECANCEL_SECONDS, run_in_background
from gallery.errors import describe_error
from gallery.jobs import progress
from gallery.jobs.progress import Progress, ProgressSender
from gallery.jobs.queue import QUEUE_NAME, key_prefixes
from gallery.ops import metrics, tracing
from gallery.settings import RedisSettings

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[str], Awaitable[None]]

LOCK_MS = 5_000  # a killed worker's job is found after LOCK_MS + STALLED_INTERVAL_MS
STALLED_INTERVAL_MS = 3_000
MAX_STALLED_COUNT = 1_000  # the row counts losses, not the queue
RETRY_DELAY_MS = 500
SHUTDOWN_TIMEOUT_SECONDS = 5.0  # then everything is cancelled
REPORT_TIMEOUT_SECONDS = 1.0


@asynccontextmanager
async def consume_jobs(
    settings: RedisSettings, handlers: Mapping[str, Handler], concurrency: int, name: str
) -> AsyncIterator[None]:
    """Runs jobs during the block; at its end cancels the active ones, so that handlers can give their images back.

    `concurrency` limits all queues together; each queue has an equal share, and at least one.
    """
    active: set[asyncio.Task[None]] = set()
    slots = asyncio.Semaphore(concurrency)

    async def handle(job: BullJob) -> None:
        async with slots:
            await handlers[job.name](job.data["id"])

    async def process(job: BullJob, _token: str) -> None:
        sender = ProgressSender(partial(_send_progress, job))
        progress.reporter.set(sender.report)  # in the context of this job's own task
        with structlog.contextvars.bound_contextvars(job=job.id, image=job.data["id"]), _span(job):
            async with run_in_background(sender.run(), "progress"):
                task = asyncio.ensure_future(handle(job))
                active.add(task)
                await asyncio.wait([task])
                active.discard(task)
            if not task.cancelled():
                task.result()

    async with AsyncExitStack() as stack:
        each = math.ceil(concurrency / settings.queues)
        workers = []
        for prefix in key_prefixes(settings):
            client = connect(settings, decode=True, blocking=True)  # not shared, since BullMQ closes it
            stack.push_async_callback(client.aclose)
            worker = BullWorker(QUEUE_NAME, process, _options(client, prefix, each, name))
            workers.append(worker)
            worker.on("failed", _log_failed)
            worker.on("error", _log_error)
        running = [asyncio.create_task(_run(worker), name="bullmq") for worker in workers]
        try:
            yield
        finally:
            await _stop(workers, running, active)


async def _run(worker: BullWorker) -> None:
    """BullMQ first sends its client name, and would stop for good if the server were unavailable at that moment."""
    if isinstance(worker.client, RedisCluster):
        await _set_client_names(worker)
    while not worker.closing:
        try:
            await worker.run()
        except UNAVAILABLE_ERRORS as error:
            log.warning("queue.unavailable", error=describe_error(error))
            await asyncio.sleep(RETRY_DELAY_MS / 1000)


async def _set_client_names(worker: BullWorker) -> None:
    """Sends the name to all nodes of a cluster; goes on without it when one of them is unavailable."""
    try:
        await worker._ensure_client_names()  # noqa: SLF001  BullMQ would otherwise require it before each job
    except UNAVAILABLE_ERRORS as error:
        log.info("queue.client_name_not_set", error=describe_error(error))
        worker._client_name_set = True  # noqa: SLF001


async def _stop(
    workers: "list[BullWorker]", running: "list[asyncio.Task[None]]", active: "set[asyncio.Task[None]]"
) -> None:
    """Stops in time. BullMQ itself waits for each job, and retries an unavailable server endlessly without a pause."""
    for worker in workers:
        worker.closing = True  # no further job
    for task in active:
        task.cancel()
    closing = [asyncio.ensure_future(worker.close()) for worker in workers]
    _, late = await asyncio.wait({*closing, *running, *active}, timeout=SHUTDOWN_TIMEOUT_SECONDS)
    if late:
        log.warning("worker.slow_shutdown", active=len(active))
    while late:  # a client library may swallow a cancellation, and a job may have started just after the first one
        for worker in workers:
            worker.cancelProcessing()
        for task in late.difference(closing) | active:
            task.cancel()
        _, late = await asyncio.wait(late | active, timeout=RECANCEL_SECONDS)


def _options(client: Any, prefix: str, concurrency: int, name: str) -> dict[str, Any]:
    return {
        "connection": client,
        "prefix": prefix,
        "name": name,
        "autorun": False,
        "concurrency": concurrency,
        "lockDuration": LOCK_MS,
        "stalledInterval": STALLED_INTERVAL_MS,
        "maxStalledCount": MAX_STALLED_COUNT,
        "runRetryDelay": RETRY_DELAY_MS,
        "drainDelay": 5,
    }


def _span(job: BullJob) -> AbstractContextManager[tracing.Span]:
    facts = {"messaging.message.id": str(job.id), "gallery.image": str(job.data["id"])}
    return tracing.span(
        f"process {QUEUE_NAME}",
        "CONSUMER",
        job.data,
        messaging__system="bullmq",
        messaging__destination__name=QUEUE_NAME,
        **facts,
    )


async def _send_progress(job: BullJob, state: Progress) -> None:
    """Uses the keys that Bull Board shows. A lost update only makes a progress bar stale."""
    try:
        async with asyncio.timeout(REPORT_TIMEOUT_SECONDS):
            await job.updateProgress({"stage": state.stage, "progress": state.percent})
    except (*UNAVAILABLE_ERRORS, TypeError) as error:  # TypeError: BullMQ has no such job, since Valkey lost its data
        log.debug("job.progress_not_reported", error=describe_error(error))


def _log_failed(job: BullJob, error: Exception) -> None:
    metrics.JOBS_FAILED.add()
    log.error("job.failed", job=job.id, image=job.data.get("id"), exc_info=error)


def _log_error(error: Exception, *_: Any) -> None:
    log.warning("queue.error", error=describe_error(error))
