"""How we connect to PostgreSQL, primary or replica, and what it looks like not to reach it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import asyncpg
from asyncpg.connection import LoggedQuery
from asyncpg.pool import PoolConnectionProxy

from gallery.errors import DatabaseAway, DatabaseRefused, in_words
from gallery.ops import metrics, tracing
from gallery.settings import Database as Settings

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that was cut just when it was asked something
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
)

REFUSED = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


class Bounced(asyncpg.Connection):
    """A connection through PgBouncer, which gives it another server for each transaction: there is nothing to reset."""

    def get_reset_query(self) -> str:
        return ""


def make_pool(url: str, settings: Settings, least: int = 0, most: int | None = None) -> Pool:
    """A pool of connections to `url`, of `settings.pool_size` of them unless `most` says less; to be awaited."""
    through: dict[str, Any] = {}
    if settings.pgbouncer:  # which knows prepared statements for one transaction only
        through = {"statement_cache_size": 0, "connection_class": Bounced}
    return asyncpg.create_pool(
        url,
        min_size=least,
        max_size=most or settings.pool_size,
        timeout=settings.timeout,
        command_timeout=settings.timeout,
        init=_prepare,
        server_settings={"application_name": "gallery", "timezone": "UTC"},
        **through,
    )


async def close(pool: Pool) -> None:
    try:
        async with asyncio.timeout(3):
            await pool.close()
    except TimeoutError:
        pool.terminate()


@contextmanager
def away_by_name() -> Iterator[None]:
    """Whatever says that the server is away is raised as `DatabaseAway`, its refusals as `DatabaseRefused`."""
    try:
        yield
    except ValueError:  # asyncpg's word for an argument that does not fit is an InterfaceError too
        raise
    except REFUSED as error:
        metrics.REFUSED.add("postgresql")
        raise DatabaseRefused(cause=in_words(error)) from error
    except AWAY as error:
        metrics.AWAY.add("postgresql")
        raise DatabaseAway(cause=in_words(error)) from error


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record] | Connection") -> None:
    """Ids travel as text; JSON stays the bytes that it is."""
    async with connection.transaction():  # so that PgBouncer lets one server answer all of it
        await connection.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, schema="pg_catalog", encoder=_text, decoder=str.encode, format="text")
    if tracing.on():
        connection.add_query_logger(_traced)


def _traced(query: "LoggedQuery") -> None:
    """Called right after it, in the context that has asked."""
    tracing.statement(query.query, query.elapsed, query.exception)


def _text(json: bytes) -> str:
    return json.decode()
