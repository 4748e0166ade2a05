"""Checks of PostgreSQL: the connection, the schema, and slow statements."""

import asyncio
import socket
import statistics
from datetime import UTC, datetime
from time import perf_counter
from urllib.parse import urlsplit

import asyncpg

from gallery.adapters.postgres.database import SCHEMA_REVISION, explain_schema
from gallery.doctor.model import CheckContext, Verdict, notice, well, wrong

MIN_VERSION = 16
TIMEOUT_SECONDS = 3.0
MAX_ROUND_TRIP_MS = 20
SLOW_STATEMENT_MS = 100  # on average
MIN_CALLS = 20
LONG_RUNNING_SECONDS = 10  # for a statement or an idle transaction
MAX_CONNECTION_RATIO = 0.85
MAX_CLOCK_SKEW_SECONDS = 5

SLOW_STATEMENTS = """
    SELECT query, calls, mean_exec_time AS mean FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND calls >= $1 AND mean_exec_time >= $2
    ORDER BY total_exec_time DESC LIMIT 5
"""
LONG_RUNNING_STATEMENTS = """
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


async def postgresql(context: CheckContext) -> Verdict:
    """Connects as the API does, and explains a failure."""
    url = context.settings.database.url or (context.running and context.running.database_url)
    if not url:
        return wrong(
            f"DATABASE_URL is not set, and no embedded PostgreSQL runs in {context.settings.data_path.absolute()}.",
            "Start gallery dev, set DATABASE_URL, or set GALLERY_DATA_DIR to the directory of the running Gallery.",
        )
    db = await open_connection(context, url)
    if isinstance(db, Verdict):
        return db
    context.db = db
    return await _check_server(db)


async def open_connection(context: CheckContext, url: str) -> "asyncpg.Connection[asyncpg.Record] | Verdict":
    """A connection that is closed at the end of all checks, or the reason why it failed."""
    server_settings = {"application_name": "doctor"}
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):  # asyncpg's own time-out applies to each of its tries
            # PgBouncer does not keep prepared statements, and each statement runs once
            db = await asyncpg.connect(
                url, command_timeout=TIMEOUT_SECONDS, server_settings=server_settings, statement_cache_size=0
            )
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        says, do = _explain_error(error, urlsplit(url).hostname)
        return wrong(says, do, error=repr(error))
    context.stack.callback(db.terminate)
    return db


async def migrations(context: CheckContext) -> Verdict:
    db = get_connection(context)
    revision = None
    if await db.fetchval("SELECT to_regclass('alembic_version')") is not None:
        revision = await db.fetchval("SELECT version_num FROM alembic_version")
    if revision == SCHEMA_REVISION:
        context.installation = await db.fetchval("SELECT id::text FROM installation")
        return well(f"The schema is at {revision}.", revision=revision)
    if revision is None:
        return wrong("The database has no schema.", "Run gallery migrate.", expected=SCHEMA_REVISION)
    fault, remedy = explain_schema(revision) or (f"older than this Gallery's {SCHEMA_REVISION}", "run gallery migrate")
    return wrong(
        f"The schema is at {revision}, {fault}.",
        f"{remedy[0].upper()}{remedy[1:]}.",
        revision=revision,
        expected=SCHEMA_REVISION,
    )


async def connections(context: CheckContext) -> Verdict:
    used, most = await get_connection(context).fetchrow(CONNECTIONS) or (0, 1)
    if used > most * MAX_CONNECTION_RATIO:
        return wrong(
            f"{used} of {most} connections are in use.",
            "Lower GALLERY_DATABASE__POOL_SIZE, use PgBouncer, or raise max_connections.",
            used=used,
            most=most,
        )
    return well(f"{used} of {most} connections are in use.", used=used, most=most)


async def slow_queries(context: CheckContext) -> Verdict:
    """Statements that take long now and, with pg_stat_statements, those that take long on average."""
    db = get_connection(context)
    if rows := await db.fetch(LONG_RUNNING_STATEMENTS, LONG_RUNNING_SECONDS):
        row = rows[0]
        blocked = f", waiting for process {row['blocked_by'][0]}" if row["blocked_by"] else ""
        return wrong(
            f"{len(rows)} statements or transactions run for more than {LONG_RUNNING_SECONDS} s; "
            f"the oldest, process {row['pid']}, "
            f"is {row['state']} for {row['seconds']:.0f} s{blocked}: {_shorten(row['query'])}",
            f"Look at pg_locks; SELECT pg_terminate_backend({row['pid']}) ends the process.",
            pids=[row["pid"] for row in rows],
        )
    try:
        rows = await db.fetch(SLOW_STATEMENTS, MIN_CALLS, SLOW_STATEMENT_MS)
    except (asyncpg.UndefinedTableError, asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.InsufficientPrivilegeError):
        return well("No statement takes long now. (With the extension pg_stat_statements, averages are checked too.)")
    if rows:
        row = rows[0]
        return wrong(
            f"{row['calls']} times, {row['mean']:.0f} ms on average: {_shorten(row['query'])}",
            "Run EXPLAIN (ANALYZE, BUFFERS) on it, and VACUUM ANALYZE if its estimates are wrong.",
            statements=[{"calls": r["calls"], "mean": round(r["mean"]), "query": _shorten(r["query"])} for r in rows],
        )
    return well(f"No statement takes {SLOW_STATEMENT_MS} ms on average, and none takes long now.")


async def clock(context: CheckContext) -> Verdict:
    there: datetime = await get_connection(context).fetchval("SELECT clock_timestamp()")
    apart = abs((datetime.now(UTC) - there).total_seconds())
    if apart > MAX_CLOCK_SKEW_SECONDS:
        return wrong(f"This machine's clock and PostgreSQL's differ by {apart:.0f} s.", "Synchronise both with NTP.")
    return well(f"This machine's clock and PostgreSQL's agree within {max(1, round(apart))} s.", apart=apart)


async def _check_server(db: "asyncpg.Connection[asyncpg.Record]") -> Verdict:
    version = db.get_server_version()
    round_trips = []
    for _ in range(5):
        began = perf_counter()
        await db.fetchval("SELECT 1")
        round_trips.append((perf_counter() - began) * 1000)
    median = statistics.median(round_trips)
    name = f"PostgreSQL {version.major}"
    facts = {"version": version.major, "milliseconds": round(median, 2)}
    if version.major < MIN_VERSION:
        return wrong(f"{name} is too old.", f"Upgrade it to {MIN_VERSION} or newer.", **facts)
    if await db.fetchval("SELECT pg_is_in_recovery()"):
        return wrong(f"{name} is a read-only replica.", "Set DATABASE_URL to the primary.", **facts)
    if median > MAX_ROUND_TRIP_MS:
        return notice(f"{name} answers after {median:.0f} ms.", "Run it nearer: every request needs it.", **facts)
    return well(f"{name} answers within {median:.1f} ms.", **facts)


CONNECTION_ERRORS: tuple[tuple[tuple[type[Exception], ...], str, str], ...] = (
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        "PostgreSQL refuses the connection: {error}.",
        "Check the user and the password in DATABASE_URL, and pg_hba.conf.",
    ),
    (
        (asyncpg.InvalidCatalogNameError,),
        "PostgreSQL has no such database: {error}.",
        "Create it, or correct the name in DATABASE_URL.",
    ),
    (
        (asyncpg.TooManyConnectionsError,),
        "PostgreSQL has no free connections.",
        "Lower GALLERY_DATABASE__POOL_SIZE, or use PgBouncer.",
    ),
    (
        (asyncpg.CannotConnectNowError,),
        "PostgreSQL is not ready yet: {error}.",
        "Wait; if it stays so, read its log.",
    ),
    ((socket.gaierror,), "The host name {host} is unknown.", "Check the host in DATABASE_URL, and DNS."),
    (
        (TimeoutError,),
        "PostgreSQL at {host} does not answer within 3 s.",
        "Check firewalls, and whether the server hangs.",
    ),
    ((OSError,), "No server answers at {host}: {error}.", "Start PostgreSQL, or correct DATABASE_URL."),
    ((Exception,), "The connection to PostgreSQL failed: {error}.", "Check DATABASE_URL."),
)


def _explain_error(error: Exception, host: str | None) -> tuple[str, str]:
    says, do = next((says, do) for kinds, says, do in CONNECTION_ERRORS if isinstance(error, kinds))
    return says.format(error=error, host=host), do


def get_connection(context: CheckContext) -> "asyncpg.Connection[asyncpg.Record]":
    assert context.db is not None, "the check postgresql has connected"  # noqa: S101
    return context.db


def _shorten(query: str) -> str:
    return " ".join(query.split())[:160]
