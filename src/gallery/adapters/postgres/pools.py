"""Connection pools to PostgreSQL, primary or replica, and the errors that mean it cannot be reached."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg.connection import LoggedQuery
from asyncpg.pool import PoolConnectionProxy

from gallery.errors import DatabaseRefused, DatabaseUnavailable, describe_error
from gallery.ops import metrics, tracing
from gallery.settings import DatabaseSettings

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

UNAVAILABLE_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection was cut just when a query was sent
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.InvalidCachedStatementError,  # a migration changed the table: the connection prepares its statements again
)

REFUSED_ERRORS = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


def make_pool(url: str, settings: DatabaseSettings, min_size: int = 0, max_size: int | None = None) -> Pool:
    """A pool of connections to `url`, at most `max_size`, else `settings.pool_size`; to be awaited."""
    options: dict[str, Any] = {}
    if settings.pgbouncer:  # prepared statements last for one transaction only
        options = {"statement_cache_size": 0}
    return asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size or settings.pool_size,
        timeout=settings.timeout,
        command_timeout=settings.timeout,
        init=_init_connection,
        reset=_keep_session,
        server_settings={"application_name": "gallery", "timezone": "UTC"},
        **options,
    )


async def close_pool(pool: Pool) -> None:
    try:
        async with asyncio.timeout(3):
            await pool.close()
    except TimeoutError:
        pool.terminate()


@contextmanager
def translate_errors() -> Iterator[None]:
    """An unreachable server is raised as `DatabaseUnavailable`, one that refuses the login as `DatabaseRefused`."""
    try:
        yield
    except ValueError:  # asyncpg's error for an invalid argument is also an InterfaceError
        raise
    except REFUSED_ERRORS as error:
        metrics.REFUSED.add("postgresql")
        raise DatabaseRefused(cause=describe_error(error)) from error
    except UNAVAILABLE_ERRORS as error:
        metrics.UNAVAILABLE.add("postgresql")
        raise DatabaseUnavailable(cause=describe_error(error)) from error


async def _init_connection(connection: "asyncpg.Connection[asyncpg.Record] | Connection") -> None:
    """Ids travel as text; JSON stays bytes."""
    async with connection.transaction():  # so that PgBouncer sends all statements to one server
        await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(
                kind, schema="pg_catalog", encoder=_decode, decoder=str.encode, format="text"
            )
    if tracing.is_enabled():
        connection.add_query_logger(_trace_query)


async def _keep_session(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Sends nothing: no statement changes its session, and asyncpg itself rolls back an open transaction.

    asyncpg's own reset would cost each use a round trip, which made 63 % of the statements of an upload.
    """


def _trace_query(query: "LoggedQuery") -> None:
    """Called right after the query, in the context of its caller."""
    tracing.record_statement(query.query, query.elapsed, query.exception)


def _decode(json: bytes) -> str:
    return json.decode()
