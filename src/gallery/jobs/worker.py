"""Answering the bell: a BullMQ worker that hands each job to its handler, several at once.

A handler raises only for bugs; BullMQ then keeps the job among the failed with its stack. Whether an image is due,
whose it is and when it is tried again stands in its row.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import structlog
from bullmq import Job as BullJob
from bullmq import Worker as BullWorker
from redis.asyncio.cluster import RedisCluster

from gallery.adapters.valkey.client import UNAVAILABLE_ERRORS, connect
from gallery.background import RECANCEL_SECONDS
from gallery.errors import describe_error
from gallery.jobs import progress
from gallery.jobs.progress import Progress
from gallery.jobs.queue import QUEUE_NAME, key_prefixes
from gallery.ops import metrics, tracing
from gallery.settings import RedisSettings

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[str], Awaitable[None]]

LOCK_MS = 5_000  # milliseconds; a killed worker's job is found after lock + stalled check
STALLED_INTERVAL_MS = 3_000
MAX_STALLED_COUNT = 1_000  # the row counts losses, not the queue
RETRY_DELAY_MS = 500
SHUTDOWN_TIMEOUT_SECONDS = 5.0  # seconds that the end may take by itself
REPORT_TIMEOUT_SECONDS = 1.0  # seconds that telling of progress may take


@asynccontextmanager
async def consume_jobs(
    settings: RedisSettings, handlers: Mapping[str, Handler], concurrency: int, name: str
) -> AsyncIterator[None]:
    """Take jobs while the block runs; at its end, cancel what is under way, so that handlers can hand it back.

    `concurrency` holds for all queues together; each has its part of it, and one at least.
    """
    under_way: set[asyncio.Task[None]] = set()
    slots = asyncio.Semaphore(concurrency)

    async def handle(job: BullJob) -> None:
        async with slots:
            await handlers[job.name](job.data["id"])

    async def process(job: BullJob, _token: str) -> None:
        progress.reporter.set(_reporter(job))  # in the context of this job's own task
        with structlog.contextvars.bound_contextvars(job=job.id, image=job.data["id"]), _span(job):
            task = asyncio.ensure_future(handle(job))
            under_way.add(task)
            await asyncio.wait([task])
            under_way.discard(task)
            if not task.cancelled():
                task.result()

    async with AsyncExitStack() as stack:
        each = math.ceil(concurrency / settings.queues)
        workers = []
        for prefix in key_prefixes(settings):
            client = connect(settings, decode=True, blocking=True)  # its own: BullMQ closes it
            stack.push_async_callback(client.aclose)
            worker = BullWorker(QUEUE_NAME, process, _options(client, prefix, each, name))
            workers.append(worker)
            worker.on("failed", _log_failed)
            worker.on("error", _log_error)
        running = [asyncio.create_task(_run(worker), name="bullmq") for worker in workers]
        try:
            yield
        finally:
            await _stop(workers, running, under_way)


async def _run(worker: BullWorker) -> None:
    """BullMQ begins by telling the server its name, and gives up for good when the server is away just then."""
    if isinstance(worker.client, RedisCluster):
        await _set_client_names(worker)
    while not worker.closing:
        try:
            await worker.run()
        except UNAVAILABLE_ERRORS as error:
            log.warning("queue.waiting", error=describe_error(error))
            await asyncio.sleep(RETRY_DELAY_MS / 1000)


async def _set_client_names(worker: BullWorker) -> None:
    """Tell all nodes of a cluster; one of them may be dead, and then it has to do without."""
    try:
        await worker._ensure_client_names()  # noqa: SLF001  else it insists on it whenever it asks for a job
    except UNAVAILABLE_ERRORS as error:
        log.info("queue.without_name", error=describe_error(error))
        worker._client_name_set = True  # noqa: SLF001


async def _stop(
    workers: "list[BullWorker]", running: "list[asyncio.Task[None]]", under_way: "set[asyncio.Task[None]]"
) -> None:
    """In time: BullMQ by itself waits for every job, and asks a server that is away again and again without a pause."""
    for worker in workers:
        worker.closing = True  # no further job
    for task in under_way:
        task.cancel()
    closing = [asyncio.ensure_future(worker.close()) for worker in workers]
    _, late = await asyncio.wait({*closing, *running, *under_way}, timeout=SHUTDOWN_TIMEOUT_SECONDS)
    if late:
        log.warning("worker.slow_end", under_way=len(under_way))
    while late:  # a client library may swallow a cancellation, and a job may have come just after the first one
        for worker in workers:
            worker.cancelProcessing()
        for task in late.difference(closing) | under_way:
            task.cancel()
        _, late = await asyncio.wait(late | under_way, timeout=RECANCEL_SECONDS)


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


def _reporter(job: BullJob) -> progress.ProgressReporter:
    async def report(state: Progress) -> None:
        """The words are those that Bull Board shows; who cannot be told has missed nothing but a picture."""
        try:
            async with asyncio.timeout(REPORT_TIMEOUT_SECONDS):
                await job.updateProgress({"stage": state.stage, "progress": state.percent})
        except UNAVAILABLE_ERRORS as error:
            log.debug("job.progress_unheard", error=describe_error(error))

    return report


def _log_failed(job: BullJob, error: Exception) -> None:
    metrics.JOBS_FAILED.add()
    log.error("job.failed", job=job.id, image=job.data.get("id"), exc_info=error)


def _log_error(error: Exception, *_: Any) -> None:
    log.warning("queue.error", error=describe_error(error))
