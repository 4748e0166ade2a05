"""The sweep finishes interrupted work from the rows alone: it enqueues overdue images and removes unneeded objects.

Each worker calls it on a timer, and one of them runs it. Each step works in bounded batches and may run twice. The cost
depends on the number of unfinished rows, not on the size of the library.
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
REPEAT_DUE_AFTER = timedelta(seconds=20)  # before a job is enqueued again: it may only wait in a long queue
STARVING_AFTER = timedelta(seconds=60)  # after this wait an image goes first
REPEAT_EXPIRED_AFTER = timedelta(seconds=10)  # as REPEAT_DUE_AFTER, for an image whose worker is lost
PURGE_AFTER = timedelta(hours=1)

TRY_LOCK = "UPDATE installation SET swept_at = now() WHERE swept_at <= now() - $1::interval RETURNING true"
UNCLAIMED = """
    SELECT id, attempt, lane, queue_position, next_attempt_at AS since FROM image
    WHERE work_state = 'due' AND deleted_at IS NULL AND next_attempt_at <= now() AND enqueued_at <= $1
      AND next_attempt_at >= coalesce($3::timestamptz, '-infinity')
    ORDER BY next_attempt_at LIMIT $2
"""
LEASE_EXPIRED = """
    SELECT id, attempt, lane, queue_position, lease_until AS since FROM image
    WHERE work_state = 'claimed' AND deleted_at IS NULL AND lease_until <= now() AND enqueued_at <= $1
      AND lease_until >= coalesce($3::timestamptz, '-infinity')
    ORDER BY lease_until LIMIT $2
"""
DUE = "work_state = 'due' AND deleted_at IS NULL"
OLDEST_PER_OWNER = f"""
    WITH RECURSIVE oldest AS (  -- one step of the index for each owner, however many images wait
        (SELECT owner, id, next_attempt_at FROM image WHERE {DUE} ORDER BY owner, next_attempt_at LIMIT 1)
        UNION ALL
        SELECT next.* FROM oldest, LATERAL (
            SELECT owner, id, next_attempt_at FROM image WHERE {DUE} AND owner > oldest.owner
            ORDER BY owner, next_attempt_at LIMIT 1
        ) AS next
    )
    SELECT id FROM oldest WHERE next_attempt_at <= now() - $1::interval LIMIT $2
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
"""A step of another package; its second argument is the largest number of rows to process."""


class SweepResult(Struct, frozen=True, rename={"enqueued": "rung"}):
    """How many images a sweep has enqueued, and how many objects it has removed."""

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
        """True for one caller in each interval of length `every`."""
        async with self._database.primary() as db:
            return bool(await db.fetchval(TRY_LOCK, every))

    async def run(self) -> SweepResult:
        """Raises `DatabaseUnavailable`. The part of an unavailable Valkey or object store is left to the next sweep."""
        enqueued = removed = 0
        try:
            enqueued = await self._enqueue_overdue()
        except ValkeyUnavailable as error:
            log.warning("sweep.not_enqueued", error=str(error))
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
            log.info("sweep.done", enqueued=enqueued, removed=removed)
        return SweepResult(enqueued, removed)

    async def plan(self) -> SweepResult:
        """The result that `run` would have now. Raises `DatabaseUnavailable`, `ValkeyUnavailable`."""
        overdue = [] if await self._paused() else _overdue(await self._queue.is_intact())
        enqueued = sum([await self._count(statement, min_age) for statement, min_age in overdue])
        async with self._database.primary() as db:
            removed = await db.fetchval(
                f"SELECT count(*) FROM object WHERE remove_after <= now() AND {object_rows.NOT_FROZEN}"
            )
        return SweepResult(enqueued, removed)

    async def _enqueue_overdue(self) -> int:
        """Enqueues nothing while the queue is paused; the first sweep after that enqueues all images that are due."""
        paused = await self._paused()
        await self._queue.apply_pause(paused)
        if paused:
            return 0
        intact = await self._queue.is_intact()
        enqueued = sum([await self._enqueue(statement, min_age) for statement, min_age in _overdue(intact)])
        await self._move_ahead()
        if not intact:
            await self._queue.mark_intact()
        return enqueued

    async def _paused(self) -> bool:
        async with self._database.primary() as db:
            return await pause.since(db) is not None

    async def _count(self, statement: str, min_age: timedelta) -> int:
        async with self._database.primary() as db:
            return len(await db.fetch(statement, await db.fetchval(CUTOFF, min_age), None, None))

    async def _enqueue(self, statement: str, min_age: timedelta) -> int:
        async with self._database.primary() as db:
            before = await db.fetchval(CUTOFF, min_age)
        enqueued, since = 0, None  # `since`: where the last batch ended, so that no batch reads past the ones before
        while True:
            async with self._database.primary() as db:
                rows = await db.fetch(statement, before, BATCH, since)
            if not rows:
                return enqueued
            since = rows[-1]["since"]
            await self._queue.enqueue_all([_repeat_job(row) for row in rows])
            async with self._database.writing() as db:
                await db.execute(MARK_ENQUEUED, [row["id"] for row in rows])
            enqueued += len(rows)

    async def _move_ahead(self) -> None:
        """Moves each owner's longest waiting image ahead of all others, so that no image starves."""
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
        for chore in self._chores:  # each by itself: one may end an upload, and must not wait for what another deletes
            async with self._database.writing() as db:
                await chore(db, BATCH)


def _overdue(queue_intact: bool) -> list[tuple[str, timedelta]]:
    """Statements for overdue images, each with the least age of an image's latest job; zero after Valkey lost jobs."""
    return [
        (UNCLAIMED, REPEAT_DUE_AFTER if queue_intact else timedelta()),
        (LEASE_EXPIRED, REPEAT_EXPIRED_AFTER if queue_intact else timedelta()),
    ]


def _repeat_job(row: Record) -> Job:
    return repeat_job(row["id"], row["attempt"], Lane(row["lane"]), row["queue_position"])
