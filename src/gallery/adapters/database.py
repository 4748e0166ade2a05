"""PostgreSQL: one pool, two ways in, and every failure to reach it under one name.

`primary()` yields a connection for statements that stand alone, reads and single writes; `writing()` opens a
transaction. A server that is away, restarting, read-only or too slow raises `DatabaseAway`; what is wrong with a
statement stays asyncpg's own error.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import asyncpg
import structlog
from asyncpg.connection import LoggedQuery
from asyncpg.pool import PoolConnectionProxy

from gallery.errors import CannotStart, DatabaseAway
from gallery.ops import metrics, tracing
from gallery.settings import Database as Settings

log = structlog.get_logger(__name__)

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

SCHEMA = "0008"  # the newest migration; a test holds it against the folder
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


class Database:
    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", timeout: float) -> None:
        self._pool = pool
        self._timeout = timeout

    @asynccontextmanager
    async def primary(self) -> AsyncIterator[Connection]:
        """A connection for statements that stand alone, each committed by itself. Raises `DatabaseAway`."""
        metrics.CONNECTIONS.add(1)
        try:
            with _away_by_name():
                connection = await self._pool.acquire(timeout=self._timeout)
                try:
                    yield connection
                finally:
                    await self._give_back(connection)
        finally:
            metrics.CONNECTIONS.add(-1)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, committed when the block ends well. Raises `DatabaseAway`."""
        async with self.primary() as connection, connection.transaction():
            yield connection

    async def ping(self) -> None:
        async with self.primary() as db:
            await db.fetchval("SELECT 1")

    async def _give_back(self, connection: Connection) -> None:
        try:
            await self._pool.release(connection, timeout=self._timeout)
        except AWAY as error:  # the connection is gone; the pool makes a new one when it is asked to
            log.debug("database.connection_lost", error=repr(error))


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database at `settings.url`, which must answer already; see `wait_for_database`."""
    pool = asyncpg.create_pool(
        settings.url,
        min_size=1,
        max_size=settings.pool_size,
        timeout=settings.timeout,
        command_timeout=settings.timeout,
        init=_prepare,
        server_settings={"application_name": "gallery", "timezone": "UTC"},
    )
    await pool
    metrics.MOST_CONNECTIONS.add(settings.pool_size)
    try:
        yield Database(pool, settings.timeout)
    finally:
        metrics.MOST_CONNECTIONS.add(-settings.pool_size)
        await _close(pool)


async def wait_for_database(settings: Settings, patience: float = 60) -> str | None:
    """Wait until PostgreSQL answers; returns its schema's revision. Raises `CannotStart` after `patience` seconds."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            return await _revision(settings)
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidCatalogNameError) as error:
            raise CannotStart(f"PostgreSQL refuses us: {error}. Check DATABASE_URL.") from error
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            raise CannotStart(f"DATABASE_URL cannot be read: {error}.") from error
        except AWAY as error:
            if asyncio.get_running_loop().time() > deadline:
                raise CannotStart(f"PostgreSQL did not answer within {patience:.0f} s: {error!r}.") from error
            log.warning("database.waiting", error=repr(error))
            await asyncio.sleep(0.5)


@contextmanager
def _away_by_name() -> Iterator[None]:
    try:
        yield
    except ValueError:  # asyncpg's word for an argument that does not fit is an InterfaceError too
        raise
    except AWAY as error:
        metrics.AWAY.add("postgresql")
        raise DatabaseAway(cause=repr(error)) from error


async def _revision(settings: Settings) -> str | None:
    connection = await asyncpg.connect(settings.url, timeout=settings.timeout)
    try:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return None
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    finally:
        await connection.close(timeout=settings.timeout)


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record] | Connection") -> None:
    """Ids travel as text; JSON stays the bytes that it is."""
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


async def _close(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    try:
        async with asyncio.timeout(3):
            await pool.close()
    except TimeoutError:
        pool.terminate()
