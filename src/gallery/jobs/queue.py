"""The job queue on BullMQ. A job means "check this row"; a lost job loses no work, since the row holds the state.

Jobs are deduplicated for `DEDUPLICATION_TTL` by subject and key. They never set a job id, since BullMQ silently ignores
an id that it has seen. All keys of one queue are in one slot of a cluster. Jobs may be sharded over several queues by
subject, so that duplicates meet in the same queue.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import structlog
from bullmq import Job as BullJob
from bullmq import Queue as BullQueue
from msgspec import Struct

from gallery.adapters.valkey.client import Client, Valkey, connect, ensure_initialized
from gallery.errors import JobNotFound
from gallery.jobs.progress import Progress
from gallery.masking import masked
from gallery.ops import tracing
from gallery.settings import RedisSettings, ValkeyNodes

log = structlog.get_logger(__name__)

T = TypeVar("T")

QUEUE_NAME = "image-processing"
KEY_PREFIX = "bull"
ADD_CONCURRENCY = 50  # jobs added at once where BullMQ cannot add them in one request
DEDUPLICATION_TTL = timedelta(seconds=5)
PRIORITY_STEP = 2**32  # between two priorities, in BullMQ's scores
MAX_BULK = 500  # jobs dropped at once
OPEN_STATES = ("wait", "paused", "prioritized", "delayed", "active")


class Job(Struct, frozen=True):
    """`name` selects the handler, `subject` is its argument. Jobs with another `dedup_key` are no duplicates; a lower
    `priority` goes first. A `unique` job is not added while one with the same key is waiting or active.
    """

    name: str
    subject: str
    dedup_key: int = 0
    delay: timedelta = timedelta()
    priority: int = 1
    unique: bool = False


class ActiveJob(Struct, frozen=True):
    """A job that a worker is running."""

    subject: str
    progress: Progress | None


class FailedJob(Struct, frozen=True, rename="camel"):
    """A job whose handler raised, which only a bug causes. `stack` has one text for each attempt."""

    id: str
    job: str
    subject: str
    reason: str
    stack: list[str]
    failed_at: datetime


class QueueState(Struct, frozen=True):
    """Numbers of jobs by BullMQ's states, the number of connected workers, and the reason of the latest failure."""

    counts: dict[str, int]
    workers: int
    paused: bool
    latest_failure: str | None


class Queue:
    def __init__(self, shards: Sequence[BullQueue], valkey: Valkey) -> None:
        self._shards = shards
        self._valkey = valkey

    async def enqueue(self, job: Job) -> None:
        """Raises `ValkeyUnavailable`; the sweep then enqueues the job later."""
        await self.enqueue_all([job])

    async def enqueue_all(self, jobs: Sequence[Job]) -> None:
        with tracing.span(
            f"send {QUEUE_NAME}", "PRODUCER", messaging__system="bullmq", messaging__destination__name=QUEUE_NAME
        ):
            trace = tracing.current_context()  # the worker continues this trace
            for shard, bull in enumerate(self._shards):
                bull_jobs = [
                    {"name": job.name, "data": {"id": job.subject, **trace}, "opts": _options(job)}
                    for job in jobs
                    if self._shard_of(job) == shard
                ]
                if bull_jobs:
                    await self._add(bull, bull_jobs)

    async def counts(self, *more: str) -> dict[str, int]:
        """Numbers of unfinished jobs by BullMQ's states (and the states `more`). Raises `ValkeyUnavailable`."""
        counts: list[dict[str, int]] = await self._on_each(lambda bull: bull.getJobCounts(*OPEN_STATES, *more))
        return {state: sum(count[state] for count in counts) for state in counts[0]}

    async def count_prioritized(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """The number of jobs with a priority in each range, both ends included. Raises `ValkeyUnavailable`."""

        async def of(bull: BullQueue) -> list[int]:
            key = bull.toKey("prioritized")
            async with bull.client.pipeline(transaction=False) as pipe:
                for first, last in ranges:
                    pipe.zcount(key, first * PRIORITY_STEP, f"({(last + 1) * PRIORITY_STEP}")
                return list(await pipe.execute())

        return [sum(counts) for counts in zip(*await self._on_each(of), strict=True)]

    async def active(self, limit: int) -> list[ActiveJob]:
        """At most `limit` active jobs with their progress. Raises `ValkeyUnavailable`."""
        jobs = chain.from_iterable(await self._on_each(lambda bull: bull.getJobs(["active"], 0, limit - 1)))
        return [ActiveJob(job.data["id"], _progress(job)) for job in islice(jobs, limit)]

    async def apply_pause(self, paused: bool) -> None:
        """Makes BullMQ pause or resume. Raises `ValkeyUnavailable`; the sweep then does it later."""

        async def of(bull: BullQueue) -> None:
            if await bull.isPaused() != paused:
                await (bull.pause() if paused else bull.resume())

        await self._on_each(of)

    async def failed_jobs(self, start: int, limit: int) -> list[FailedJob]:
        """Failed jobs, newest first; `start` is how many to skip."""
        failed = await self._on_each(lambda bull: bull.getJobs(["failed"], 0, start + limit - 1))
        found = [_failed_job(shard, job) for shard, jobs in enumerate(failed) for job in jobs]
        return sorted(found, key=lambda job: job.failed_at, reverse=True)[start : start + limit]

    async def retry(self, job_id: str) -> None:
        """Enqueues a failed job again, at the position of its priority. Raises `JobNotFound`."""
        _, job = await self._get_failed(job_id)
        try:
            await self._valkey.call(lambda _: job.retry())
        except TypeError:  # BullMQ raises it for a job that another caller has retried or dropped
            raise JobNotFound(job=job_id) from None

    async def drop(self, job_id: str) -> None:
        """Removes a failed job; its row does not change. Raises `JobNotFound`."""
        bull, job = await self._get_failed(job_id)
        await self._valkey.call(lambda _: bull.remove(job.id))

    async def drop_all(self) -> int:
        """Removes at most `MAX_BULK` failed jobs of each queue; returns their number."""
        return sum(len(gone) for gone in await self._on_each(lambda bull: bull.clean(0, MAX_BULK, "failed")))

    async def _get_failed(self, job_id: str) -> tuple[BullQueue, BullJob]:
        """BullMQ numbers jobs per queue; ids of all queues but the first therefore begin with the queue's number."""
        shard, _, bull_id = job_id.rpartition("-")
        if not (shard.isdecimal() or not shard) or int(shard or 0) >= len(self._shards):
            raise JobNotFound(job=job_id)
        bull = self._shards[int(shard or 0)]
        job = await self._valkey.call(lambda _: bull.getJob(bull_id))
        if job is None or await self._valkey.call(lambda _: bull.getJobState(bull_id)) != "failed":
            raise JobNotFound(job=job_id)
        return bull, job

    async def is_intact(self) -> bool:
        """Whether the queue still holds the jobs enqueued since `mark_intact`; False after Valkey has lost its data."""
        return all(await self._on_each(lambda bull: bull.client.exists(self._mark_key(bull))))

    async def mark_intact(self) -> None:
        await self._on_each(lambda bull: bull.client.set(self._mark_key(bull), "1"))

    async def _add(self, bull: BullQueue, jobs: list[dict[str, Any]]) -> None:
        """In one request; in a cluster concurrently, since BullMQ cannot use the pipeline of a cluster's client.

        One job needs no transaction, which BullMQ precedes with a request that looks for its scripts.
        """
        if len(jobs) > 1 and not self._valkey.cluster:
            await self._valkey.call(lambda _: bull.addBulk(jobs))
            return
        for first in range(0, len(jobs), ADD_CONCURRENCY):
            await self._valkey.call(partial(_add_each, bull, jobs[first : first + ADD_CONCURRENCY]))

    async def _on_each(self, operation: Callable[[BullQueue], Awaitable[T]]) -> list[T]:
        return [await self._valkey.call(partial(_call_on, operation, bull)) for bull in self._shards]

    def _shard_of(self, job: Job) -> int:
        return zlib.crc32(job.subject.encode()) % len(self._shards)

    def _mark_key(self, bull: BullQueue) -> str:
        """In a cluster it is in the queue's own slot, so that it is lost together with the queue."""
        return f"{bull.prefix if self._valkey.cluster else ''}{self._valkey.prefix}:queue:mark"


@asynccontextmanager
async def open_queue(settings: RedisSettings, valkey: Valkey) -> AsyncIterator[Queue]:
    client = connect(settings, decode=True)
    try:
        yield Queue(
            [BullQueue(QUEUE_NAME, {"connection": client, "prefix": each}) for each in key_prefixes(settings)], valkey
        )
    finally:
        await client.aclose()


def _progress(job: BullJob) -> Progress | None:
    reported = job.progress
    return Progress(str(reported["stage"]), int(reported["progress"])) if isinstance(reported, dict) else None


def _failed_job(shard: int, job: BullJob) -> FailedJob:
    failed_at = datetime.fromtimestamp((job.finishedOn or job.timestamp) / 1000, UTC)
    job_id = f"{shard}-{job.id}" if shard else job.id
    stack = [masked(text) for text in job.stacktrace]
    return FailedJob(job_id, job.name, str(job.data.get("id")), masked(job.failedReason or ""), stack, failed_at)


def key_prefixes(settings: RedisSettings) -> list[str]:
    """The prefix of each queue's keys; in a cluster in braces, which put all keys of a queue into one slot."""
    names = [KEY_PREFIX, *(f"{KEY_PREFIX}:{number}" for number in range(1, settings.queues))]
    return [f"{{{name}}}" for name in names] if ValkeyNodes.parse(str(settings.url)).cluster else names


def _options(job: Job) -> dict[str, Any]:
    deduplication = {"id": f"{job.subject}:{job.dedup_key}", "ttl": round(DEDUPLICATION_TTL.total_seconds() * 1000)}
    if job.unique:
        deduplication = {"id": f"{job.subject}:{job.dedup_key}:once"}  # for as long as the job exists
    return {
        "removeOnComplete": True,
        "removeOnFail": {"count": 1000},  # a handler raises only for bugs, which an operator may examine
        "delay": round(job.delay.total_seconds() * 1000),
        "priority": job.priority,
        "deduplication": deduplication,
    }


async def inspect(client: Client, settings: RedisSettings) -> QueueState:
    """Reads the state with an existing client, e.g. for `gallery doctor`. Raises the client's own errors."""
    bulls = [BullQueue(QUEUE_NAME, {"connection": client, "prefix": prefix}) for prefix in key_prefixes(settings)]
    each = [await bull.getJobCounts(*OPEN_STATES, "failed") for bull in bulls]
    failed = [job for bull in bulls for job in await bull.getFailed(0, 0)]
    return QueueState(
        counts={state: sum(count[state] for count in each) for state in each[0]},
        workers=len({worker.get("rawname", worker["name"]) for worker in await bulls[0].get_workers()}),
        paused=any([await bull.isPaused() for bull in bulls]),
        latest_failure=str(failed[0].failedReason) if failed else None,
    )


async def _call_on(operation: Callable[[BullQueue], Awaitable[T]], bull: BullQueue, _: object) -> T:
    return await operation(bull)


async def _add_each(bull: BullQueue, jobs: Sequence[dict[str, Any]], _: object) -> None:
    await ensure_initialized(bull.client)
    await asyncio.gather(*(bull.add(job["name"], job["data"], job["opts"]) for job in jobs))
