"""Finishes what was left half done, from the rows alone: rings what nobody was rung for, removes what nobody needs.

Every worker calls it on a timer and one of them does it; each step takes bounded batches and can be done twice. Its
cost is what is wrong, not how large the library is.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeAlias

import structlog
from asyncpg import Record
from msgspec import Struct

from gallery import failpoints
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import ObjectStoreUnavailable, ValkeyUnavailable
from gallery.failpoints import Failpoint
from gallery.images import object_rows
from gallery.images.jobs import job_ahead, repeat_job
from gallery.images.model import Lane
from gallery.jobs import pause
from gallery.jobs.queue import Job, Queue
from gallery.notifications.store import EventStore
from gallery.ops import metrics

log = structlog.get_logger(__name__)

BATCH = 500
REPEAT_DUE_AFTER = timedelta(seconds=20)  # before a ring that nobody has answered is repeated: a long queue is no fault
STARVING_AFTER = timedelta(seconds=60)  # to wait; then an image goes first
REPEAT_EXPIRED_AFTER = timedelta(seconds=10)  # the same for an image whose worker is lost
PURGE_AFTER = timedelta(hours=1)

TRY_LOCK = "UPDATE installation SET swept_at = now() WHERE swept_at <= now() - $1::interval RETURNING true"
UNCLAIMED = """
    SELECT id, attempt, lane, queue_position FROM image
    WHERE work = 'due' AND deleted_at IS NULL AND next_attempt_at <= now() AND enqueued_at <= $1
    ORDER BY next_attempt_at LIMIT $2
"""
LEASE_EXPIRED = """
    SELECT id, attempt, lane, queue_position FROM image
    WHERE work = 'taken' AND deleted_at IS NULL AND lease_until <= now() AND enqueued_at <= $1
    ORDER BY lease_until LIMIT $2
"""
OLDEST_PER_OWNER = """
    SELECT DISTINCT ON (owner) id FROM image
    WHERE work = 'due' AND deleted_at IS NULL AND next_attempt_at <= now() - $1::interval
    ORDER BY owner, next_attempt_at LIMIT $2
"""
CUTOFF = "SELECT now() - $1::interval"
MARK_ENQUEUED = "UPDATE image SET enqueued_at = now() WHERE id = ANY($1)"
PURGE = """
    DELETE FROM image WHERE id IN (
        SELECT id FROM image
        WHERE deleted_at <= now() - $1::interval AND NOT EXISTS (SELECT FROM object WHERE image_id = image.id)
        LIMIT $2
    )
"""


Chore: TypeAlias = Callable[[Connection, int], Awaitable[None]]
"""What another package has swept: at most so many rows."""


class SweepResult(Struct, frozen=True, rename={"enqueued": "rung"}):
    """What one sweep has done."""

    enqueued: int = 0
    removed: int = 0


class Sweep:
    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        queue: Queue,
        events: EventStore,
        event_retention: timedelta,
        chores: Sequence[Chore],
    ) -> None:
        self._database = database
        self._objects = objects
        self._queue = queue
        self._events = events
        self._event_retention = event_retention
        self._chores = chores

    async def try_lock(self, every: timedelta) -> bool:
        """Whether it is the caller's turn: true once in `every`, for one of all who ask."""
        async with self._database.primary() as db:
            return bool(await db.fetchval(TRY_LOCK, every))

    async def run(self) -> SweepResult:
        """Raises `DatabaseUnavailable`; Valkey or an object store that is away leaves its part to the next sweep."""
        enqueued = removed = 0
        try:
            enqueued = await self._enqueue_overdue()
        except ValkeyUnavailable as error:
            log.warning("sweep.not_rung", error=str(error))
        try:
            removed = await self._remove_objects()
            await self._objects.clean_up()
        except ObjectStoreUnavailable as error:
            log.warning("sweep.not_removed", error=str(error))
        await self._purge()
        await self._events.expire(self._event_retention)
        metrics.SWEEPS.add()
        metrics.SWEPT.add("rung", amount=enqueued)
        metrics.SWEPT.add("removed", amount=removed)
        if enqueued or removed:
            log.info("sweep.done", rung=enqueued, removed=removed)
        return SweepResult(enqueued, removed)

    async def plan(self) -> SweepResult:
        """What `run` would find to do now. Raises `DatabaseUnavailable`, `ValkeyUnavailable`."""
        overdue = [] if await self._paused() else _overdue(await self._queue.is_intact())
        enqueued = sum([await self._count(which, patience) for which, patience in overdue])
        async with self._database.primary() as db:
            removed = await db.fetchval(
                f"SELECT count(*) FROM object WHERE remove_after <= now() AND {object_rows.NOT_FROZEN}"
            )
        return SweepResult(enqueued, removed)

    async def _enqueue_overdue(self) -> int:
        """Nothing into a paused queue: nobody would come, and whoever is not rung for now is when it goes on."""
        paused = await self._paused()
        await self._queue.apply_pause(paused)
        if paused:
            return 0
        intact = await self._queue.is_intact()
        enqueued = sum([await self._enqueue(overdue, patience) for overdue, patience in _overdue(intact)])
        await self._move_ahead()
        if not intact:
            await self._queue.mark_intact()
        return enqueued

    async def _paused(self) -> bool:
        async with self._database.primary() as db:
            return await pause.since(db) is not None

    async def _count(self, statement: str, min_age: timedelta) -> int:
        async with self._database.primary() as db:
            return len(await db.fetch(statement, await db.fetchval(CUTOFF, min_age), None))

    async def _enqueue(self, statement: str, min_age: timedelta) -> int:
        async with self._database.primary() as db:
            before = await db.fetchval(CUTOFF, min_age)
        enqueued = 0
        while True:
            async with self._database.primary() as db:
                rows = await db.fetch(statement, before, BATCH)
            if not rows:
                return enqueued
            await self._queue.enqueue_all([_repeat_job(row) for row in rows])
            async with self._database.writing() as db:
                await db.execute(MARK_ENQUEUED, [row["id"] for row in rows])
            enqueued += len(rows)

    async def _move_ahead(self) -> None:
        """Of each owner, what has waited longest goes before everything else, so that nobody starves."""
        async with self._database.primary() as db:
            rows = await db.fetch(OLDEST_PER_OWNER, STARVING_AFTER, BATCH)
        if rows:
            await self._queue.enqueue_all([job_ahead(row["id"]) for row in rows])

    async def _remove_objects(self) -> int:
        removed = 0
        while True:
            async with self._database.writing() as db:
                unneeded = await object_rows.mark_for_removal(db, BATCH)
            if not unneeded:
                return removed
            failpoints.hit(Failpoint.SWEEP_MARKED)
            await self._objects.delete(unneeded)
            failpoints.hit(Failpoint.SWEEP_REMOVED)
            async with self._database.writing() as db:
                await object_rows.finish_removal(db, unneeded)
            removed += len(unneeded)

    async def _purge(self) -> None:
        async with self._database.writing() as db:
            await db.execute(PURGE, PURGE_AFTER, BATCH)
            for chore in self._chores:
                await chore(db, BATCH)


def _overdue(queue_intact: bool) -> list[tuple[str, timedelta]]:
    """Which images are to be rung for, and how long after the ring before; after a loss of memory at once."""
    return [
        (UNCLAIMED, REPEAT_DUE_AFTER if queue_intact else timedelta()),
        (LEASE_EXPIRED, REPEAT_EXPIRED_AFTER if queue_intact else timedelta()),
    ]


def _repeat_job(row: Record) -> Job:
    return repeat_job(row["id"], row["attempt"], Lane(row["lane"]), row["queue_position"])
