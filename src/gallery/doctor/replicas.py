"""Read replicas: whether each lets us in, is of this Gallery, and how far it is behind. One that is not well is left
out by the API itself; what it would have read, the primary reads.
"""

import asyncio
from urllib.parse import urlsplit

import asyncpg

from gallery.adapters.postgres.replicas import REPLAYED, WHO
from gallery.doctor.model import Patient, Verdict, notice, skipped, well, wrong
from gallery.doctor.postgres import PATIENCE, connection, open_connection
from gallery.settings import addresses

POLL = 0.1
WRITTEN = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint"
LEFT_OUT = "Until then it is left out, and its reads go to the primary."


async def replicas(patient: Patient) -> Verdict:
    """Each of them: the first that is not well is told of."""
    urls = addresses(patient.settings.database.read_replica_url)
    if not urls:
        return skipped("there is no read replica")
    position = int(await connection(patient).fetchval(WRITTEN))
    troubles = [trouble for url in urls if (trouble := await _trouble(patient, url, position))]
    return troubles[0] if troubles else well(f"All {len(urls)} have what the primary has written.", replicas=len(urls))


async def _trouble(patient: Patient, url: str, position: int) -> Verdict | None:
    name = urlsplit(url).netloc.rpartition("@")[2]
    db = await open_connection(patient, url)
    if isinstance(db, Verdict):
        return wrong(f"{name}: {db.says}", f"{db.do.replace('DATABASE_URL', 'DATABASE_READ_REPLICA_URL')} {LEFT_OUT}")
    if await db.fetchval(REPLAYED) is None:
        return wrong(f"{name} is a primary of its own.", f"Set a replica in DATABASE_READ_REPLICA_URL. {LEFT_OUT}")
    if str(await db.fetchval(WHO)) != patient.installation:
        return wrong(f"{name} belongs to another Gallery.", f"Mend DATABASE_READ_REPLICA_URL. {LEFT_OUT}")
    missing = await _missing(db, position)
    if missing:
        return notice(
            f"{name} is behind: after {PATIENCE:.0f} s it has not replayed what the primary had written by now.",
            "Look at pg_stat_replication on the primary, and at the replica's load. " + LEFT_OUT,
            bytes=missing,
        )
    return None


async def _missing(db: "asyncpg.Connection[asyncpg.Record]", position: int) -> int:
    """How many bytes of the primary's log are still not replayed after a while."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (missing := position - int(await db.fetchval(REPLAYED))) > 0:
        if asyncio.get_running_loop().time() > deadline:
            return missing
        await asyncio.sleep(POLL)
    return 0
