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
from bullmq import Job
from bullmq import Worker as BullWorker
from redis.asyncio.cluster import RedisCluster

from gallery.adapters.valkey.client import AWAY, connect
from gallery.background import AGAIN
from gallery.errors import in_words
from gallery.jobs import progress
from gallery.jobs.progress import Progress
from gallery.jobs.queue import NAME, prefixes
from gallery.ops import metrics, tracing
from gallery.settings import Redis as Settings

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[str], Awaitable[None]]

LOCK = 5_000  # milliseconds; a killed worker's job is found after lock + stalled check
STALLED_EVERY = 3_000
STALLED_OFTEN = 1_000  # the row counts losses, not the queue
RETRY = 500
IN_ORDER = 5.0  # seconds that the end may take by itself
REPORT = 1.0  # seconds that telling of progress may take


@asynccontextmanager
async def answering(
    settings: Settings, handlers: Mapping[str, Handler], concurrency: int, name: str
) -> AsyncIterator[None]:
    """Take jobs while the block runs; at its end, cancel what is under way, so that handlers can hand it back.

    `concurrency` holds for all queues together; each has its part of it, and one at least.
    """
    under_way: set[asyncio.Task[None]] = set()
    places = asyncio.Semaphore(concurrency)

    async def handle(job: Job) -> None:
        async with places:
            await handlers[job.name](job.data["id"])

    async def answer(job: Job, _token: str) -> None:
        progress.report.set(_reporter(job))  # in the context of this job's own task
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
        for prefix in prefixes(settings):
            client = connect(settings, decode=True, blocking=True)  # its own: BullMQ closes it
            stack.push_async_callback(client.aclose)
            worker = BullWorker(NAME, answer, _options(client, prefix, each, name))
            workers.append(worker)
            worker.on("failed", _failed)
            worker.on("error", _error)
        running = [asyncio.create_task(_run(worker), name="bullmq") for worker in workers]
        try:
            yield
        finally:
            await _end(workers, running, under_way)


async def _run(worker: BullWorker) -> None:
    """BullMQ begins by telling the server its name, and gives up for good when the server is away just then."""
    if isinstance(worker.client, RedisCluster):
        await _introduce(worker)
    while not worker.closing:
        try:
            await worker.run()
        except AWAY as error:
            log.warning("queue.waiting", error=in_words(error))
            await asyncio.sleep(RETRY / 1000)


async def _introduce(worker: BullWorker) -> None:
    """Tell all nodes of a cluster; one of them may be dead, and then it has to do without."""
    try:
        await worker._ensure_client_names()  # noqa: SLF001  else it insists on it whenever it asks for a job
    except AWAY as error:
        log.info("queue.without_name", error=in_words(error))
        worker._client_name_set = True  # noqa: SLF001


async def _end(
    workers: "list[BullWorker]", running: "list[asyncio.Task[None]]", under_way: "set[asyncio.Task[None]]"
) -> None:
    """In time: BullMQ by itself waits for every job, and asks a server that is away again and again without a pause."""
    for worker in workers:
        worker.closing = True  # no further job
    for task in under_way:
        task.cancel()
    closing = [asyncio.ensure_future(worker.close()) for worker in workers]
    _, late = await asyncio.wait({*closing, *running, *under_way}, timeout=IN_ORDER)
    if late:
        log.warning("worker.slow_end", under_way=len(under_way))
    while late:  # a client library may swallow a cancellation, and a job may have come just after the first one
        for worker in workers:
            worker.cancelProcessing()
        for task in late.difference(closing) | under_way:
            task.cancel()
        _, late = await asyncio.wait(late | under_way, timeout=AGAIN)


def _options(client: Any, prefix: str, concurrency: int, name: str) -> dict[str, Any]:
    return {
        "connection": client,
        "prefix": prefix,
        "name": name,
        "autorun": False,
        "concurrency": concurrency,
        "lockDuration": LOCK,
        "stalledInterval": STALLED_EVERY,
        "maxStalledCount": STALLED_OFTEN,
        "runRetryDelay": RETRY,
        "drainDelay": 5,
    }


def _span(job: Job) -> AbstractContextManager[tracing.Span]:
    facts = {"messaging.message.id": str(job.id), "gallery.image": str(job.data["id"])}
    return tracing.span(
        f"process {NAME}", "CONSUMER", job.data, messaging__system="bullmq", messaging__destination__name=NAME, **facts
    )


def _reporter(job: Job) -> progress.Report:
    async def report(how_far: Progress) -> None:
        """The words are those that Bull Board shows; who cannot be told has missed nothing but a picture."""
        try:
            async with asyncio.timeout(REPORT):
                await job.updateProgress({"stage": how_far.stage, "progress": how_far.percent})
        except AWAY as error:
            log.debug("job.progress_unheard", error=in_words(error))

    return report


def _failed(job: Job, error: Exception) -> None:
    metrics.BUGS.add()
    log.error("job.failed", job=job.id, image=job.data.get("id"), exc_info=error)


def _error(error: Exception, *_: Any) -> None:
    log.warning("queue.error", error=in_words(error))
