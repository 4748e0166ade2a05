"""The bell: a BullMQ queue whose jobs say "look at this row". Losing one loses no work, for the row is the truth.

A ring is deduplicated for a moment by what it rings for; it never has a job id of its own choosing, since BullMQ
silently ignores an id that it has seen. All keys of one queue are in one slot of a cluster; the jobs may be spread over
several queues, by what they ring for, so that doubles meet.
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
from bullmq import Job
from bullmq import Queue as BullQueue
from msgspec import Struct

from gallery.adapters.valkey.client import Client, Valkey, connect, ready
from gallery.errors import JobNotFound
from gallery.jobs.progress import Progress
from gallery.masking import masked
from gallery.ops import tracing
from gallery.settings import Nodes
from gallery.settings import Redis as Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")

NAME = "image-processing"
PREFIX = "bull"
TOGETHER = 50  # jobs that are added at once where BullMQ cannot add them in one trip
DEDUPLICATION = timedelta(seconds=5)
STEP = 2**32  # between two priorities, in BullMQ's scores
MOST = 500  # jobs that are retried or dropped at once
WAITING = ("wait", "paused", "prioritized", "delayed", "active")


class Ring(Struct, frozen=True):
    """`job` is to be done for `subject`; `turn` tells rings for different reasons apart; low `priority` is soon.

    Of those that ring `once`, none is added while one is waiting or under way.
    """

    job: str
    subject: str
    turn: int = 0
    delay: timedelta = timedelta()
    priority: int = 1
    once: bool = False


class Active(Struct, frozen=True):
    """A job that a worker has now."""

    subject: str
    progress: Progress | None


class Bug(Struct, frozen=True, rename="camel"):
    """A job whose handler raised, which only a bug of ours does. `stack` has one text for each time."""

    id: str
    job: str
    subject: str
    reason: str
    stack: list[str]
    failed_at: datetime


class QueueState(Struct, frozen=True):
    """Jobs by BullMQ's states, the workers that are connected to it, and the reason of the latest failure."""

    counts: dict[str, int]
    workers: int
    paused: bool
    latest_failure: str | None


class Queue:
    def __init__(self, bulls: Sequence[BullQueue], valkey: Valkey) -> None:
        self._bulls = bulls
        self._valkey = valkey

    async def ring(self, ring: Ring) -> None:
        """Raises `ValkeyAway`; then the sweep rings."""
        await self.ring_all([ring])

    async def ring_all(self, rings: Sequence[Ring]) -> None:
        with tracing.span(f"send {NAME}", "PRODUCER", messaging__system="bullmq", messaging__destination__name=NAME):
            trace = tracing.context()  # whoever answers goes on with it
            for place, bull in enumerate(self._bulls):
                ours = [ring for ring in rings if self._place(ring) == place]
                jobs = [{"name": r.job, "data": {"id": r.subject, **trace}, "opts": _options(r)} for r in ours]
                if jobs:
                    await self._add(bull, jobs)

    async def counts(self, *more: str) -> dict[str, int]:
        """Jobs by those of BullMQ's states in which there is something to do (and `more`), of all queues together.

        Raises `ValkeyAway`.
        """
        counts: list[dict[str, int]] = await self._of_each(lambda bull: bull.getJobCounts(*WAITING, *more))
        return {state: sum(count[state] for count in counts) for state in counts[0]}

    async def prioritized(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """How many wait with a priority in each of the ranges, both ends included. Raises `ValkeyAway`."""

        async def of(bull: BullQueue) -> list[int]:
            key = bull.toKey("prioritized")
            async with bull.client.pipeline(transaction=False) as pipe:
                for first, last in ranges:
                    pipe.zcount(key, first * STEP, f"({(last + 1) * STEP}")
                return list(await pipe.execute())

        return [sum(counts) for counts in zip(*await self._of_each(of), strict=True)]

    async def active(self, most: int) -> list[Active]:
        """What is under way, with how far it is. Raises `ValkeyAway`."""
        jobs = chain.from_iterable(await self._of_each(lambda bull: bull.getJobs(["active"], 0, most - 1)))
        return [Active(job.data["id"], _progress(job)) for job in islice(jobs, most)]

    async def obey(self, paused: bool) -> None:
        """Have BullMQ pause or go on, as the row says. Raises `ValkeyAway`; the sweep does it again."""

        async def of(bull: BullQueue) -> None:
            if await bull.isPaused() != paused:
                await (bull.pause() if paused else bull.resume())

        await self._of_each(of)

    async def bugs(self, start: int, limit: int) -> list[Bug]:
        """Failed jobs, newest first."""
        failed = await self._of_each(lambda bull: bull.getJobs(["failed"], 0, start + limit - 1))
        bugs = [_bug(place, job) for place, jobs in enumerate(failed) for job in jobs]
        return sorted(bugs, key=lambda bug: bug.failed_at, reverse=True)[start : start + limit]

    async def retry(self, job_id: str) -> None:
        """A failed job waits again, in the place that its priority gives it. Raises `JobNotFound`."""
        _, job = await self._failed(job_id)
        try:
            await self._valkey.call(lambda _: job.retry())
        except TypeError:  # BullMQ's word for a job that somebody else has retried or dropped
            raise JobNotFound(job=job_id) from None

    async def drop(self, job_id: str) -> None:
        """Forget a failed job, and nothing else: its row stands for itself. Raises `JobNotFound`."""
        bull, job = await self._failed(job_id)
        await self._valkey.call(lambda _: bull.remove(job.id))

    async def drop_all(self) -> int:
        """At most `MOST` of each queue; returns how many."""
        return sum(len(gone) for gone in await self._of_each(lambda bull: bull.clean(0, MOST, "failed")))

    async def _failed(self, job_id: str) -> tuple[BullQueue, Job]:
        """BullMQ counts in each queue anew; behind the first, a job's id begins with its queue's place."""
        place, _, own = job_id.rpartition("-")
        if not (place.isdecimal() or not place) or int(place or 0) >= len(self._bulls):
            raise JobNotFound(job=job_id)
        bull = self._bulls[int(place or 0)]
        job = await self._valkey.call(lambda _: bull.getJob(own))
        if job is None or await self._valkey.call(lambda _: bull.getJobState(own)) != "failed":
            raise JobNotFound(job=job_id)
        return bull, job

    async def remembers(self) -> bool:
        """Whether the queue still holds what was rung since `mark`; False after Valkey has lost its memory."""
        return all(await self._of_each(lambda bull: bull.client.exists(self._mark(bull))))

    async def mark(self) -> None:
        await self._of_each(lambda bull: bull.client.set(self._mark(bull), "1"))

    async def _add(self, bull: BullQueue, jobs: list[dict[str, Any]]) -> None:
        """In one trip, or in a cluster, whose client has no pipeline that BullMQ could use, side by side."""
        if not self._valkey.cluster:
            await self._valkey.call(lambda _: bull.addBulk(jobs))
            return
        for first in range(0, len(jobs), TOGETHER):
            await self._valkey.call(partial(_add_each, bull, jobs[first : first + TOGETHER]))

    async def _of_each(self, ask: Callable[[BullQueue], Awaitable[T]]) -> list[T]:
        return [await self._valkey.call(partial(_one, ask, bull)) for bull in self._bulls]

    def _place(self, ring: Ring) -> int:
        return zlib.crc32(ring.subject.encode()) % len(self._bulls)

    def _mark(self, bull: BullQueue) -> str:
        """In a cluster in the queue's own slot: it is to be lost when the queue is."""
        return f"{bull.prefix if self._valkey.cluster else ''}{self._valkey.prefix}:queue:mark"


@asynccontextmanager
async def open_queue(settings: Settings, valkey: Valkey) -> AsyncIterator[Queue]:
    client = connect(settings, decode=True)
    try:
        yield Queue([BullQueue(NAME, {"connection": client, "prefix": each}) for each in prefixes(settings)], valkey)
    finally:
        await client.aclose()


def _progress(job: Job) -> Progress | None:
    said = job.progress
    return Progress(str(said["stage"]), int(said["progress"])) if isinstance(said, dict) else None


def _bug(place: int, job: Job) -> Bug:
    failed_at = datetime.fromtimestamp((job.finishedOn or job.timestamp) / 1000, UTC)
    own = f"{place}-{job.id}" if place else job.id
    stack = [masked(text) for text in job.stacktrace]
    return Bug(own, job.name, str(job.data.get("id")), masked(job.failedReason or ""), stack, failed_at)


def prefixes(settings: Settings) -> list[str]:
    """Of each queue's keys; in a cluster in braces, which put all of them into one slot."""
    names = [PREFIX, *(f"{PREFIX}:{number}" for number in range(1, settings.queues))]
    return [f"{{{name}}}" for name in names] if Nodes.read(str(settings.url)).cluster else names


def _options(ring: Ring) -> dict[str, Any]:
    double = {"id": f"{ring.subject}:{ring.turn}", "ttl": round(DEDUPLICATION.total_seconds() * 1000)}
    if ring.once:
        double = {"id": f"{ring.subject}:{ring.turn}:once"}  # for as long as the job is there
    return {
        "removeOnComplete": True,
        "removeOnFail": {"count": 1000},  # a handler raises only for bugs: those are kept to be looked at
        "delay": round(ring.delay.total_seconds() * 1000),
        "priority": ring.priority,
        "deduplication": double,
    }


async def inspect(client: Client, settings: Settings) -> QueueState:
    """Asked with a client that exists already, e.g. by `gallery doctor`; raises what the client raises."""
    bulls = [BullQueue(NAME, {"connection": client, "prefix": prefix}) for prefix in prefixes(settings)]
    each = [await bull.getJobCounts(*WAITING, "failed") for bull in bulls]
    failed = [job for bull in bulls for job in await bull.getFailed(0, 0)]
    return QueueState(
        counts={state: sum(count[state] for count in each) for state in each[0]},
        workers=len({worker.get("rawname", worker["name"]) for worker in await bulls[0].get_workers()}),
        paused=any([await bull.isPaused() for bull in bulls]),
        latest_failure=str(failed[0].failedReason) if failed else None,
    )


async def _one(ask: Callable[[BullQueue], Awaitable[T]], bull: BullQueue, _: object) -> T:
    return await ask(bull)


async def _add_each(bull: BullQueue, jobs: Sequence[dict[str, Any]], _: object) -> None:
    await ready(bull.client)
    await asyncio.gather(*(bull.add(job["name"], job["data"], job["opts"]) for job in jobs))
