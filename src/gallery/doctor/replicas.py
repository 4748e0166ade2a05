"""Read replicas: whether each lets us in, is of this Gallery, and how far it is behind. One that is not well is left
out by the API itself; what it would have read, the primary reads.
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
FALLBACK_NOTE = "Until then it is left out, and its reads go to the primary."


async def replicas(context: CheckContext) -> Verdict:
    """Each of them: the first that is not well is told of."""
    urls = parse_postgres_urls(context.settings.database.read_replica_url)
    if not urls:
        return skipped("there is no read replica")
    position = int(await get_connection(context).fetchval(WRITTEN_POSITION))
    troubles = [trouble for url in urls if (trouble := await _check_replica(context, url, position))]
    return troubles[0] if troubles else well(f"All {len(urls)} have what the primary has written.", replicas=len(urls))


async def _check_replica(context: CheckContext, url: str, position: int) -> Verdict | None:
    name = urlsplit(url).netloc.rpartition("@")[2]
    db = await open_connection(context, url)
    if isinstance(db, Verdict):
        return wrong(
            f"{name}: {db.says}", f"{db.do.replace('DATABASE_URL', 'DATABASE_READ_REPLICA_URL')} {FALLBACK_NOTE}"
        )
    if await db.fetchval(REPLAYED_POSITION) is None:
        return wrong(f"{name} is a primary of its own.", f"Set a replica in DATABASE_READ_REPLICA_URL. {FALLBACK_NOTE}")
    if str(await db.fetchval(INSTALLATION_ID)) != context.installation:
        return wrong(f"{name} belongs to another Gallery.", f"Mend DATABASE_READ_REPLICA_URL. {FALLBACK_NOTE}")
    missing = await _replay_lag_bytes(db, position)
    if missing:
        return notice(
            f"{name} is behind: after {TIMEOUT_SECONDS:.0f} s it has not replayed what the primary had written by now.",
            "Look at pg_stat_replication on the primary, and at the replica's load. " + FALLBACK_NOTE,
            bytes=missing,
        )
    return None


async def _replay_lag_bytes(db: "asyncpg.Connection[asyncpg.Record]", position: int) -> int:
    """How many bytes of the primary's log are still not replayed after a while."""
    deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
    while (missing := position - int(await db.fetchval(REPLAYED_POSITION))) > 0:
        if asyncio.get_running_loop().time() > deadline:
            return missing
        await asyncio.sleep(POLL_SECONDS)
    return 0
