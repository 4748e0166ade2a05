"""The table `backup`: one backup at a time, the freeze of removals, and the time of each verification.

The freeze is a lease: when the backup's process dies, it ends within `LEASE`, and the pending removals go on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import structlog
import uuid_utils

from gallery.adapters.postgres.database import Database
from gallery.background import run_in_background
from gallery.errors import BackupUnderWay, DatabaseUnavailable

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
POLL_SECONDS = 0.25

LOCK_TABLE = "LOCK TABLE backup IN SHARE ROW EXCLUSIVE MODE"
BEGIN = """
    INSERT INTO backup (id, location, frozen_until)
    SELECT $1, $2, now() + $3::interval WHERE NOT EXISTS (SELECT FROM backup WHERE frozen_until > now())
    RETURNING true
"""
LATEST_FREEZE = "SELECT location, frozen_until FROM backup ORDER BY frozen_until DESC LIMIT 1"
RENEW = "UPDATE backup SET frozen_until = now() + $2::interval WHERE id = $1"
END_FREEZE = "UPDATE backup SET frozen_until = now() WHERE id = $1"
MARK_COMPLETE = "UPDATE backup SET completed_at = now() WHERE id = $1"
MARK_VERIFIED = """
    INSERT INTO backup (id, location, started_at, frozen_until, completed_at, verified_at)
    VALUES ($1, $2, $3, now(), $3, now()) ON CONFLICT (id) DO UPDATE SET verified_at = now()
"""
VERIFIED_AGE = "SELECT now() - max(started_at) FROM backup WHERE verified_at IS NOT NULL"


@asynccontextmanager
async def freeze(database: Database, location: str, lease: timedelta = LEASE) -> AsyncIterator[str]:
    """Keeps the sweep from removing objects during this block. Yields the new backup's id.

    Waits for the end of a dead backup's freeze; raises `BackupUnderWay` if the other one renews it.
    """
    id_ = str(uuid_utils.uuid7())
    await _begin_freeze(database, id_, location, lease)
    try:
        async with run_in_background(_keep_renewing(database, id_, lease), "freeze"):
            yield id_
    finally:
        with suppress(DatabaseUnavailable):  # then the lease expires
            await asyncio.shield(_execute(database, END_FREEZE, id_))


async def mark_complete(database: Database, id_: str) -> None:
    await _execute(database, MARK_COMPLETE, id_)


async def mark_verified(database: Database, id_: str, location: str, taken_at: datetime) -> None:
    """Records that the backup was restored and compared now."""
    await _execute(database, MARK_VERIFIED, id_, location, taken_at)


async def verified_age(database: Database) -> timedelta | None:
    """The age of the state in the newest verified backup; `None` if there is none."""
    async with database.primary() as db:
        age: timedelta | None = await db.fetchval(VERIFIED_AGE)
    return age


async def _begin_freeze(database: Database, id_: str, location: str, lease: timedelta) -> None:
    first: datetime | None = None
    while True:
        async with database.writing() as db:
            await db.execute(LOCK_TABLE)
            if await db.fetchval(BEGIN, id_, location, lease):
                return
            other = await db.fetchrow(LATEST_FREEZE)
        assert other is not None  # noqa: S101  its freeze was the reason
        if first is None:
            log.info("backup.waiting", place=other["location"])
        elif other["frozen_until"] > first:
            raise BackupUnderWay(place=other["location"])
        first = other["frozen_until"]
        await asyncio.sleep(POLL_SECONDS)


async def _keep_renewing(database: Database, id_: str, lease: timedelta) -> None:
    while True:
        await asyncio.sleep(lease.total_seconds() / 4)
        try:
            await _execute(database, RENEW, id_, lease)
        except DatabaseUnavailable as error:
            log.warning("backup.not_renewed", error=str(error))


async def _execute(database: Database, statement: str, *values: object) -> None:
    async with database.primary() as db:
        await db.execute(statement, *values)
