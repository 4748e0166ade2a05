"""The registry of workers: each worker writes a heartbeat to the database. All times are the database's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from enum import StrEnum

import asyncpg
import structlog
from msgspec import Struct

from gallery.adapters.postgres.database import Connection, Database
from gallery.background import run_in_background
from gallery.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 5.0
LOST_AFTER = timedelta(seconds=20)  # three missed heartbeats and a margin
RETENTION = timedelta(hours=1)  # of rows of lost and ended workers
MAX_WORKERS = 200  # in one answer

HEARTBEAT = """
    INSERT INTO worker (name, version, concurrency) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET
        version = $2, concurrency = $3, seen_at = now(), ended_at = NULL,
        started_at = CASE WHEN $4 THEN now() ELSE worker.started_at END
"""
MARK_ENDED = "UPDATE worker SET seen_at = now(), ended_at = now() WHERE name = $1"
DELETE_OLD = "DELETE FROM worker WHERE seen_at < now() - $1::interval"
READ = """
    SELECT name, version, concurrency, started_at, seen_at,
           CASE WHEN ended_at IS NOT NULL THEN 'ended' WHEN seen_at < now() - $1::interval THEN 'lost'
                ELSE 'alive' END AS presence
    FROM worker ORDER BY ended_at IS NOT NULL, presence, started_at, name LIMIT $2
"""


class WorkerState(StrEnum):
    ALIVE = "alive"
    LOST = "lost"  # no heartbeat for LOST_AFTER
    ENDED = "ended"  # stopped normally


class Worker(Struct, frozen=True, rename="camel"):
    """A worker. `concurrency` is how many jobs it does at once, `seenAt` its last heartbeat."""

    name: str
    version: str
    concurrency: int
    started_at: datetime
    seen_at: datetime
    presence: WorkerState


class WorkerRegistry:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> list[Worker]:
        """The rows of `workers`."""
        async with self._database.primary() as db:
            return await workers(db)

    @asynccontextmanager
    async def registered(self, name: str, version: str, concurrency: int) -> AsyncIterator[None]:
        """Sends heartbeats during the block, and marks the worker as ended after it."""
        try:
            async with run_in_background(self._send_heartbeats(name, version, concurrency), "heartbeat"):
                yield
        finally:
            await self._try_execute(MARK_ENDED, name)

    async def _send_heartbeats(self, name: str, version: str, concurrency: int) -> None:
        first = True
        while True:
            if await self._try_execute(HEARTBEAT, name, version, concurrency, first):
                first = first and not await self._try_execute(DELETE_OLD, RETENTION)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _try_execute(self, statement: str, *values: object) -> bool:
        """False when the database is unavailable: the next heartbeat makes up for a missed one."""
        try:
            async with self._database.writing() as db:
                await db.execute(statement, *values)
        except DatabaseUnavailable as error:
            log.debug("worker.heartbeat_missed", error=str(error))
            return False
        return True


async def workers(db: "Connection | asyncpg.Connection[asyncpg.Record]") -> list[Worker]:
    """Live workers, then lost ones, then workers that ended within the last hour (`RETENTION`)."""
    rows = await db.fetch(READ, LOST_AFTER, MAX_WORKERS)
    return [Worker(**{**row, "presence": WorkerState(row["presence"])}) for row in rows]
