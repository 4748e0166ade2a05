"""Checks of the read replicas: the connection, the installation and the lag. The API does not use an unhealthy replica
and reads from the primary instead.
"""

import asyncio
from urllib.parse import urlsplit

import asyncpg

from gallery.adapters.postgres.replicas import INSTALLATION_ID, REPLAYED_POSITION
from gallery.doctor.model import CheckContext, Verdict, notice, skipped, well, wrong
from gallery.doctor.postgres import TIMEOUT_SECONDS, get_connection, open_connection
from gallery.settings import parse_postgres_urls

POLL_SECONDS = 0.1
WRITTEN_POSITION = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
FALLBACK_NOTE = "Until then it is not used, and its reads go to the primary."


async def replicas(context: CheckContext) -> Verdict:
    """Checks each replica and reports the first unhealthy one."""
    urls = parse_postgres_urls(context.settings.database.read_replica_url)
    if not urls:
        return skipped("no read replica is set")
    position = int(await get_connection(context).fetchval(WRITTEN_POSITION))
    faults = [fault for url in urls if (fault := await _check_replica(context, url, position))]
    return faults[0] if faults else well(f"All {len(urls)} are up to date with the primary.", replicas=len(urls))


async def _check_replica(context: CheckContext, url: str, position: int) -> Verdict | None:
    name = urlsplit(url).netloc.rpartition("@")[2]
    db = await open_connection(context, url)
    if isinstance(db, Verdict):
        return wrong(
            f"{name}: {db.says}", f"{db.do.replace('DATABASE_URL', 'DATABASE_READ_REPLICA_URL')} {FALLBACK_NOTE}"
        )
    if await db.fetchval(REPLAYED_POSITION) is None:
        return wrong(f"{name} is not a replica.", f"Set a replica in DATABASE_READ_REPLICA_URL. {FALLBACK_NOTE}")
    if str(await db.fetchval(INSTALLATION_ID)) != context.installation:
        return wrong(f"{name} belongs to another Gallery.", f"Correct DATABASE_READ_REPLICA_URL. {FALLBACK_NOTE}")
    missing = await _replay_lag_bytes(db, position)
    if missing:
        return notice(
            f"{name} is behind: it has not replayed the primary's log of {TIMEOUT_SECONDS:.0f} s ago.",
            "Look at pg_stat_replication on the primary, and at the replica's load. " + FALLBACK_NOTE,
            bytes=missing,
        )
    return None


async def _replay_lag_bytes(db: "asyncpg.Connection[asyncpg.Record]", position: int) -> int:
    """The bytes of the primary's log before `position` that are not replayed within `TIMEOUT_SECONDS`."""
    deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
    while (missing := position - int(await db.fetchval(REPLAYED_POSITION))) > 0:
        if asyncio.get_running_loop().time() > deadline:
            return missing
        await asyncio.sleep(POLL_SECONDS)
    return 0
