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
from gallery.adapters.objects.store import Objects
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import ObjectStoreAway, ValkeyAway
from gallery.failpoints import Place
from gallery.images import object_rows
from gallery.images.jobs import ring_again, ring_first
from gallery.images.model import Lane
from gallery.jobs import pause
from gallery.jobs.queue import Queue, Ring
from gallery.notifications.store import EventStore
from gallery.ops import metrics

log = structlog.get_logger(__name__)

BATCH = 500
PATIENCE = timedelta(seconds=20)  # before a ring that nobody has answered is repeated: a long queue is no fault
LONG = timedelta(seconds=60)  # to wait; then an image goes first
SHORT_PATIENCE = timedelta(seconds=10)  # the same for an image whose worker is lost
BURIED_AFTER = timedelta(hours=1)

TURN = "UPDATE installation SET swept_at = now() WHERE swept_at <= now() - $1::interval RETURNING true"
UNANSWERED = """
    SELECT id, attempt, lane, queue_place FROM image
    WHERE work = 'due' AND deleted_at IS NULL AND next_attempt_at <= now() AND rung_at <= $1
    ORDER BY next_attempt_at LIMIT $2
"""
ABANDONED = """
    SELECT id, attempt, lane, queue_place FROM image
    WHERE work = 'taken' AND deleted_at IS NULL AND lease_until <= now() AND rung_at <= $1
    ORDER BY lease_until LIMIT $2
"""
LONGEST = """
    SELECT DISTINCT ON (owner) id FROM image
    WHERE work = 'due' AND deleted_at IS NULL AND next_attempt_at <= now() - $1::interval
    ORDER BY owner, next_attempt_at LIMIT $2
"""
BEFORE = "SELECT now() - $1::interval"
RUNG = "UPDATE image SET rung_at = now() WHERE id = ANY($1)"
BURY = """
    DELETE FROM image WHERE id IN (
        SELECT id FROM image
        WHERE deleted_at <= now() - $1::interval AND NOT EXISTS (SELECT FROM object WHERE image_id = image.id)
        LIMIT $2
    )
"""


Chore: TypeAlias = Callable[[Connection, int], Awaitable[None]]
"""What another package has swept: at most so many rows."""


class Swept(Struct, frozen=True):
    """What one sweep has done."""

    rung: int = 0
    removed: int = 0


class Sweep:
    def __init__(
        self,
        database: Database,
        objects: Objects,
        queue: Queue,
        events: EventStore,
        keep_events: timedelta,
        chores: Sequence[Chore],
    ) -> None:
        self._database = database
        self._objects = objects
        self._queue = queue
        self._events = events
        self._keep_events = keep_events
        self._chores = chores

    async def turn(self, every: timedelta) -> bool:
        """Whether it is the caller's turn: true once in `every`, for one of all who ask."""
        async with self._database.primary() as db:
            return bool(await db.fetchval(TURN, every))

    async def run(self) -> Swept:
        """Raises `DatabaseAway`; Valkey or an object store that is away leaves its part to the next sweep."""
        rung = removed = 0
        try:
            rung = await self._ring_all()
        except ValkeyAway as error:
            log.warning("sweep.not_rung", error=str(error))
        try:
            removed = await self._remove_all()
            await self._objects.tidy()
        except ObjectStoreAway as error:
            log.warning("sweep.not_removed", error=str(error))
        await self._bury()
        await self._events.expire(self._keep_events)
        metrics.SWEEPS.add()
        metrics.SWEPT.add("rung", n=rung)
        metrics.SWEPT.add("removed", n=removed)
        if rung or removed:
            log.info("sweep.done", rung=rung, removed=removed)
        return Swept(rung, removed)

    async def plan(self) -> Swept:
        """What `run` would find to do now. Raises `DatabaseAway`, `ValkeyAway`."""
        overdue = [] if await self._paused() else _overdue(await self._queue.remembers())
        rung = sum([await self._count(which, patience) for which, patience in overdue])
        async with self._database.primary() as db:
            removed = await db.fetchval(
                f"SELECT count(*) FROM object WHERE remove_after <= now() AND {object_rows.NOT_FROZEN}"
            )
        return Swept(rung, removed)

    async def _ring_all(self) -> int:
        """Nothing into a paused queue: nobody would come, and whoever is not rung for now is when it goes on."""
        paused = await self._paused()
        await self._queue.obey(paused)
        if paused:
            return 0
        remembers = await self._queue.remembers()
        rung = sum([await self._ring(overdue, patience) for overdue, patience in _overdue(remembers)])
        await self._raise_longest()
        if not remembers:
            await self._queue.mark()
        return rung

    async def _paused(self) -> bool:
        async with self._database.primary() as db:
            return await pause.since(db) is not None

    async def _count(self, overdue: str, patience: timedelta) -> int:
        async with self._database.primary() as db:
            return len(await db.fetch(overdue, await db.fetchval(BEFORE, patience), None))

    async def _ring(self, overdue: str, patience: timedelta) -> int:
        async with self._database.primary() as db:
            before = await db.fetchval(BEFORE, patience)
        rung = 0
        while True:
            async with self._database.primary() as db:
                rows = await db.fetch(overdue, before, BATCH)
            if not rows:
                return rung
            await self._queue.ring_all([_ring_for(row) for row in rows])
            async with self._database.writing() as db:
                await db.execute(RUNG, [row["id"] for row in rows])
            rung += len(rows)

    async def _raise_longest(self) -> None:
        """Of each owner, what has waited longest goes before everything else, so that nobody starves."""
        async with self._database.primary() as db:
            rows = await db.fetch(LONGEST, LONG, BATCH)
        if rows:
            await self._queue.ring_all([ring_first(row["id"]) for row in rows])

    async def _remove_all(self) -> int:
        removed = 0
        while True:
            async with self._database.writing() as db:
                unneeded = await object_rows.mark(db, BATCH)
            if not unneeded:
                return removed
            failpoints.at(Place.SWEEP_MARKED)
            await self._objects.delete(unneeded)
            failpoints.at(Place.SWEEP_REMOVED)
            async with self._database.writing() as db:
                await object_rows.forget(db, unneeded)
            removed += len(unneeded)

    async def _bury(self) -> None:
        async with self._database.writing() as db:
            await db.execute(BURY, BURIED_AFTER, BATCH)
            for chore in self._chores:
                await chore(db, BATCH)


def _overdue(remembers: bool) -> list[tuple[str, timedelta]]:
    """Which images are to be rung for, and how long after the ring before; after a loss of memory at once."""
    return [
        (UNANSWERED, PATIENCE if remembers else timedelta()),
        (ABANDONED, SHORT_PATIENCE if remembers else timedelta()),
    ]


def _ring_for(row: Record) -> Ring:
    return ring_again(row["id"], row["attempt"], Lane(row["lane"]), row["queue_place"])
