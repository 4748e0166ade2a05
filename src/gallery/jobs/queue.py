"""The bell: a BullMQ queue whose jobs say "look at this row". Losing one loses no work, for the row is the truth.

A ring is deduplicated for a moment by what it rings for; it never has a job id of its own choosing, since BullMQ
silently ignores an id that it has seen.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bullmq import Job
from bullmq import Queue as BullQueue
from msgspec import Struct

from gallery.adapters.redis import Valkey, connect
from gallery.errors import JobNotFound
from gallery.jobs.progress import Progress
from gallery.ops import tracing
from gallery.settings import Redis as Settings

log = structlog.get_logger(__name__)

NAME = "image-processing"
PREFIX = "bull"
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


class Queue:
    def __init__(self, bull: BullQueue, valkey: Valkey) -> None:
        self._bull = bull
        self._valkey = valkey
        self._mark = f"{valkey.prefix}:queue:mark"

    async def ring(self, ring: Ring) -> None:
        """Raises `ValkeyAway`; then the sweep rings."""
        await self.ring_all([ring])

    async def ring_all(self, rings: Sequence[Ring]) -> None:
        with tracing.span(f"send {NAME}", "PRODUCER", messaging__system="bullmq", messaging__destination__name=NAME):
            trace = tracing.context()  # whoever answers goes on with it
            jobs = [{"name": r.job, "data": {"id": r.subject, **trace}, "opts": _options(r)} for r in rings]
            await self._valkey.call(lambda _: self._bull.addBulk(jobs))

    async def counts(self, *more: str) -> dict[str, int]:
        """Jobs by those of BullMQ's states in which there is something to do (and `more`). Raises `ValkeyAway`."""
        counts: dict[str, int] = await self._valkey.call(lambda _: self._bull.getJobCounts(*WAITING, *more))
        return counts

    async def prioritized(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """How many wait with a priority in each of the ranges, both ends included. Raises `ValkeyAway`."""

        async def ask(_: object) -> list[int]:
            key = self._bull.toKey("prioritized")
            async with self._bull.client.pipeline(transaction=False) as pipe:
                for first, last in ranges:
                    pipe.zcount(key, first * STEP, f"({(last + 1) * STEP}")
                return list(await pipe.execute())

        return await self._valkey.call(ask)

    async def active(self, most: int) -> list[Active]:
        """What is under way, with how far it is. Raises `ValkeyAway`."""
        jobs = await self._valkey.call(lambda _: self._bull.getJobs(["active"], 0, most - 1))
        return [Active(job.data["id"], _progress(job)) for job in jobs]

    async def obey(self, paused: bool) -> None:
        """Have BullMQ pause or go on, as the row says. Raises `ValkeyAway`; the sweep does it again."""
        if await self._valkey.call(lambda _: self._bull.isPaused()) != paused:
            await self._valkey.call(lambda _: self._bull.pause() if paused else self._bull.resume())

    async def bugs(self, start: int, limit: int) -> list[Bug]:
        """Failed jobs, newest first."""
        jobs = await self._valkey.call(lambda _: self._bull.getJobs(["failed"], start, start + limit - 1))
        return [_bug(job) for job in jobs]

    async def retry(self, job_id: str) -> None:
        """A failed job waits again, in the place that its priority gives it. Raises `JobNotFound`."""
        job = await self._failed(job_id)
        try:
            await self._valkey.call(lambda _: job.retry())
        except TypeError:  # BullMQ's word for a job that somebody else has retried or dropped
            raise JobNotFound(job=job_id) from None

    async def drop(self, job_id: str) -> None:
        """Forget a failed job, and nothing else: its row stands for itself. Raises `JobNotFound`."""
        job = await self._failed(job_id)
        await self._valkey.call(lambda _: self._bull.remove(job.id))

    async def drop_all(self) -> int:
        """At most `MOST` of them; returns how many."""
        return len(await self._valkey.call(lambda _: self._bull.clean(0, MOST, "failed")))

    async def _failed(self, job_id: str) -> Job:
        job = await self._valkey.call(lambda _: self._bull.getJob(job_id))
        if job is None or await self._valkey.call(lambda _: self._bull.getJobState(job_id)) != "failed":
            raise JobNotFound(job=job_id)
        return job

    async def remembers(self) -> bool:
        """Whether the queue still holds what was rung since `mark`; False after Valkey has lost its memory."""
        return bool(await self._valkey.call(lambda _: self._bull.client.exists(self._mark)))

    async def mark(self) -> None:
        await self._valkey.call(lambda _: self._bull.client.set(self._mark, "1"))


@asynccontextmanager
async def open_queue(settings: Settings, valkey: Valkey) -> AsyncIterator[Queue]:
    client = connect(settings, decode=True)
    bull = BullQueue(NAME, {"connection": client, "prefix": PREFIX})
    try:
        yield Queue(bull, valkey)
    finally:
        await bull.close()
        await client.aclose()


def _progress(job: Job) -> Progress | None:
    said = job.progress
    return Progress(str(said["stage"]), int(said["progress"])) if isinstance(said, dict) else None


def _bug(job: Job) -> Bug:
    failed_at = datetime.fromtimestamp((job.finishedOn or job.timestamp) / 1000, UTC)
    return Bug(job.id, job.name, str(job.data.get("id")), job.failedReason or "", job.stacktrace, failed_at)


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
