"""Gauges of the workers, by their heartbeats, and of the queue's pause."""

from collections.abc import Iterable

from gallery.adapters.postgres.database import Database
from gallery.jobs import pause
from gallery.jobs.workers import LOST_AFTER, WorkerState
from gallery.ops.readings import Reading, ReadingSource

COUNT_WORKERS = """
    SELECT count(*) FILTER (WHERE seen_at >= now() - $1::interval) AS alive,
           count(*) FILTER (WHERE seen_at < now() - $1::interval) AS lost
    FROM worker WHERE ended_at IS NULL
"""


def worker_readings(database: Database) -> ReadingSource:
    async def read() -> Iterable[Reading]:
        async with database.primary() as db:
            (row,) = await db.fetch(COUNT_WORKERS, LOST_AFTER)
            paused = await pause.since(db)
        return [
            Reading(
                "workers",
                "Workers by state: alive, or lost within the last hour (no heartbeat for 20 s, and no orderly end)",
                {(state,): row[state] for state in (WorkerState.ALIVE, WorkerState.LOST)},
                ["state"],
            ),
            Reading("queue_paused", "1 while an operator has paused the queue", {(): float(paused is not None)}),
        ]

    return read
