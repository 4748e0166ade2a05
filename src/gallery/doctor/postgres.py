"""PostgreSQL: can we come in, is the schema ours, and what is slow in it."""

import asyncio
import socket
import statistics
from datetime import UTC, datetime
from time import perf_counter
from urllib.parse import urlsplit

import asyncpg

from gallery.adapters.postgres.database import SCHEMA
from gallery.doctor.model import Patient, Verdict, notice, well, wrong

OLDEST = 16
PATIENCE = 3.0  # seconds
FAR = 20  # milliseconds to a server that ought to be near
SLOW = 100  # milliseconds that a statement takes on average
OFTEN = 20
LONG = 10  # seconds that a statement may take, or a transaction be idle
FULL = 0.85
CLOCK = 5  # seconds

STATEMENTS = """
    SELECT query, calls, mean_exec_time AS mean FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND calls >= $1 AND mean_exec_time >= $2
    ORDER BY total_exec_time DESC LIMIT 5
"""
LONG_RUNNING = """
    SELECT pid, state, query, extract(epoch FROM now() - coalesce(xact_start, query_start))::float AS seconds,
           pg_blocking_pids(pid) AS blocked_by
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND state IN ('active', 'idle in transaction') AND now() - coalesce(xact_start, query_start) > $1 * interval '1 s'
    ORDER BY seconds DESC LIMIT 5
"""
CONNECTIONS = """
    SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
           current_setting('max_connections')::int AS most
"""


async def postgresql(patient: Patient) -> Verdict:
    """Connect, as the API does, and say precisely why not."""
    url = patient.settings.database.url or (patient.running and patient.running.database_url)
    if not url:
        return wrong(
            f"No PostgreSQL is set, and no embedded one runs in {patient.settings.data.absolute()}.",
            "Start gallery dev, set DATABASE_URL, or set GALLERY_DATA_DIR to the directory of the one that runs.",
        )
    db = await open_connection(patient, url)
    if isinstance(db, Verdict):
        return db
    patient.db = db
    return await _greeted(db)


async def open_connection(patient: Patient, url: str) -> "asyncpg.Connection[asyncpg.Record] | Verdict":
    """A connection that ends with the examination, or why there is none."""
    named = {"application_name": "doctor"}
    try:
        async with asyncio.timeout(PATIENCE):  # asyncpg's own time-out holds for each of its tries
            # PgBouncer forgets prepared statements, and none of ours comes twice
            db = await asyncpg.connect(url, command_timeout=PATIENCE, server_settings=named, statement_cache_size=0)
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        says, do = _why_not(error, urlsplit(url).hostname)
        return wrong(says, do, error=repr(error))
    patient.stack.callback(db.terminate)
    return db


async def migrations(patient: Patient) -> Verdict:
    db = connection(patient)
    revision = None
    if await db.fetchval("SELECT to_regclass('alembic_version')") is not None:
        revision = await db.fetchval("SELECT version_num FROM alembic_version")
    if revision == SCHEMA:
        patient.installation = await db.fetchval("SELECT id::text FROM installation")
        return well(f"The schema is at {revision}.", revision=revision)
    if revision is None:
        return wrong("The database is empty: it has no schema.", "Run gallery migrate.", expected=SCHEMA)
    do = "Upgrade Gallery." if revision > SCHEMA else "Run gallery migrate."
    return wrong(
        f"The schema is at {revision}, and this Gallery's is {SCHEMA}.", do, revision=revision, expected=SCHEMA
    )


async def connections(patient: Patient) -> Verdict:
    used, most = await connection(patient).fetchrow(CONNECTIONS) or (0, 1)
    if used > most * FULL:
        return wrong(
            f"{used} of {most} connections are taken.",
            "Lower GALLERY_DATABASE__POOL_SIZE, put PgBouncer before it, or raise max_connections.",
            used=used,
            most=most,
        )
    return well(f"{used} of {most} connections are taken.", used=used, most=most)


async def slow_queries(patient: Patient) -> Verdict:
    """What takes long now, and, where pg_stat_statements is loaded, what takes long on average."""
    db = connection(patient)
    if rows := await db.fetch(LONG_RUNNING, LONG):
        row = rows[0]
        blocked = f", waiting for process {row['blocked_by'][0]}" if row["blocked_by"] else ""
        return wrong(
            f"{len(rows)} statements or transactions run for more than {LONG} s; the oldest, process {row['pid']}, "
            f"is {row['state']} for {row['seconds']:.0f} s{blocked}: {_brief(row['query'])}",
            f"See who holds what; SELECT pg_terminate_backend({row['pid']}) ends it.",
            pids=[row["pid"] for row in rows],
        )
    try:
        rows = await db.fetch(STATEMENTS, OFTEN, SLOW)
    except (asyncpg.UndefinedTableError, asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.InsufficientPrivilegeError):
        return well(
            "No statement runs for long now. (With the extension pg_stat_statements, averages are looked at too.)"
        )
    if rows:
        row = rows[0]
        return wrong(
            f"{row['calls']} times, {row['mean']:.0f} ms on average: {_brief(row['query'])}",
            "EXPLAIN (ANALYZE, BUFFERS) it; VACUUM ANALYZE if estimates are off.",
            statements=[{"calls": r["calls"], "mean": round(r["mean"]), "query": _brief(r["query"])} for r in rows],
        )
    return well(f"No statement takes {SLOW} ms on average, and none takes long now.")


async def clock(patient: Patient) -> Verdict:
    there: datetime = await connection(patient).fetchval("SELECT clock_timestamp()")
    apart = abs((datetime.now(UTC) - there).total_seconds())
    if apart > CLOCK:
        return wrong(f"This machine's clock and PostgreSQL's are {apart:.0f} s apart.", "Let both keep time by NTP.")
    return well(f"This machine's clock and PostgreSQL's agree within {max(1, round(apart))} s.", apart=apart)


async def _greeted(db: "asyncpg.Connection[asyncpg.Record]") -> Verdict:
    version = db.get_server_version()
    took = []
    for _ in range(5):
        began = perf_counter()
        await db.fetchval("SELECT 1")
        took.append((perf_counter() - began) * 1000)
    away = statistics.median(took)
    name = f"PostgreSQL {version.major}"
    facts = {"version": version.major, "milliseconds": round(away, 2)}
    if version.major < OLDEST:
        return wrong(f"{name} is too old.", f"Upgrade it to {OLDEST} or newer.", **facts)
    if await db.fetchval("SELECT pg_is_in_recovery()"):
        return wrong(f"{name} is a replica and cannot be written.", "Point DATABASE_URL at the primary.", **facts)
    if away > FAR:
        return notice(f"{name} answers after {away:.0f} ms.", "Bring it nearer: every request asks it.", **facts)
    return well(f"{name} answers within {away:.1f} ms.", **facts)


REFUSALS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        "PostgreSQL refuses us: {error}.",
        "Check user and password in DATABASE_URL, and pg_hba.conf.",
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        "PostgreSQL has no such database: {error}.",
        "Create it, or mend the name in DATABASE_URL.",
    ),
    (
        (asyncpg.TooManyConnectionsError,),
        "PostgreSQL has no connection left for us.",
        "Lower GALLERY_DATABASE__POOL_SIZE, or put PgBouncer before it.",
    ),
    (
        (asyncpg.CannotConnectNowError,),
        "PostgreSQL is not ready yet: {error}.",
        "Wait; if it stays so, look at its log.",
    ),
    ((socket.gaierror,), "The name {host} is unknown.", "Check the host in DATABASE_URL, and DNS."),
    (
        (TimeoutError,),
        "PostgreSQL at {host} does not answer within 3 s.",
        "Look for a firewall, or whether it hangs.",
    ),
    ((OSError,), "Nothing answers at {host}: {error}.", "Start PostgreSQL, or mend DATABASE_URL."),
    ((Exception,), "PostgreSQL cannot be asked: {error}.", "Check DATABASE_URL."),
)


def _why_not(error: Exception, host: str | None) -> tuple[str, str]:
    says, do = next((says, do) for kinds, says, do in REFUSALS if isinstance(error, kinds))
    return says.format(error=error, host=host), do


def connection(patient: Patient) -> "asyncpg.Connection[asyncpg.Record]":
    assert patient.db is not None, "the check before has connected"  # noqa: S101
    return patient.db


def _brief(query: str) -> str:
    return " ".join(query.split())[:160]
