"""PostgreSQL: three ways in, and every failure to reach it under one name.

`primary()` yields a connection for statements that stand alone, reads and single writes; `writing()` opens a
transaction; `read()` may ask a replica. A server that is away, restarting, read-only or too slow raises
`DatabaseUnavailable`; what is wrong with a statement stays asyncpg's own error.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import asyncpg
import structlog

from gallery.adapters.postgres.pools import (
    UNAVAILABLE_ERRORS,
    Connection,
    Pool,
    close_pool,
    make_pool,
    translate_errors,
)
from gallery.adapters.postgres.positions import Positions
from gallery.adapters.postgres.replicas import NoReplica, Replica, Replicas
from gallery.adapters.valkey.client import Valkey
from gallery.errors import CannotStart, describe_error
from gallery.ops import metrics
from gallery.settings import DatabaseSettings, parse_postgres_urls
from gallery.waiting import StartupWait

__all__ = ["SCHEMA_REVISION", "Connection", "Database", "open_database", "wait_for_database"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

SCHEMA_REVISION = "0012"  # the newest migration; a test holds it against the folder


class Database:
    def __init__(self, pool: Pool, settings: DatabaseSettings) -> None:
        self._pool = pool
        self._timeout = settings.timeout
        self._replicas: Replicas | None = None

    @asynccontextmanager
    async def primary(self) -> AsyncIterator[Connection]:
        """A connection for statements that stand alone, each committed by itself. Raises `DatabaseUnavailable`."""
        metrics.CONNECTIONS.add(1)
        try:
            with translate_errors():
                connection = await self._pool.acquire(timeout=self._timeout)
                try:
                    yield connection
                finally:
                    await self._release(connection)
        finally:
            metrics.CONNECTIONS.add(-1)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, committed when the block ends well. Raises `DatabaseUnavailable`."""
        async with self.primary() as connection, connection.transaction():
            yield connection

    async def read(self, query: Callable[[Connection], Awaitable[T]], subject: str) -> T:
        """What `ask` reads of `subject`, perhaps from a replica: never older than what anybody has been told.

        For what may be some seconds old else; `ask` only reads, and may be called again. That there is nothing
        (`None`) is always checked on the primary. Raises `DatabaseUnavailable`.
        """
        if self._replicas is not None:
            try:
                answer = await self._replicas.read(query, subject)
            except NoReplica as reason:
                log.debug("database.not_from_a_replica", subject=subject, reason=str(reason))
            else:
                if answer is not None:
                    return answer
        async with self.primary() as db:
            return await query(db)

    async def record_changes(self, subjects: Iterable[str]) -> None:
        """Something was committed about `subjects`: to be called before anybody is told."""
        if self._replicas is not None:
            await self._replicas.record_changes(subjects)

    async def ping(self) -> None:
        async with self.primary() as db:
            await db.fetchval("SELECT 1")

    @property
    def replicas(self) -> list[Replica]:
        """What is known of each replica."""
        return self._replicas.all if self._replicas is not None else []

    @asynccontextmanager
    async def with_replicas(self, settings: DatabaseSettings, valkey: Valkey) -> AsyncIterator["Database"]:
        """The same database, with its replicas while the block runs."""
        replicas = [Replica(url, settings) for url in parse_postgres_urls(settings.read_replica_url)]
        if not replicas:
            yield self
            return
        positions = Positions(valkey, settings.replica_max_lag)
        self._replicas = Replicas(replicas, self.primary, positions, settings.replica_max_lag)
        try:
            yield self
        finally:
            await self._replicas.close()

    async def _release(self, connection: Connection) -> None:
        try:
            await self._pool.release(connection, timeout=self._timeout)
        except UNAVAILABLE_ERRORS as error:  # the connection is gone; the pool makes a new one when it is asked to
            log.debug("database.connection_lost", error=describe_error(error))


@asynccontextmanager
async def open_database(settings: DatabaseSettings, valkey: Valkey | None = None) -> AsyncIterator[Database]:
    """The database at `settings.url`, which must answer already; see `wait_for_database`.

    Its replicas are used where there is a Valkey, in which their readers tell each other what they must have.
    """
    pool = make_pool(str(settings.url), settings, min_size=1)
    await pool
    metrics.MAX_CONNECTIONS.add(settings.pool_size)
    try:
        database = Database(pool, settings)
        if valkey is None:
            yield database
            return
        async with database.with_replicas(settings, valkey):
            yield database
    finally:
        metrics.MAX_CONNECTIONS.add(-settings.pool_size)
        await close_pool(pool)


async def wait_for_database(settings: DatabaseSettings, timeout_seconds: float = 60) -> str | None:
    """Wait until PostgreSQL answers; returns its schema's revision. Raises `CannotStart` after `patience` seconds."""
    waiting = StartupWait("database.waiting", "DATABASE_URL", timeout_seconds)
    while True:
        try:
            return await _read_revision(settings)
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidCatalogNameError) as error:
            raise CannotStart(f"PostgreSQL refuses us: {error}. Check DATABASE_URL.") from error
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            raise CannotStart(f"DATABASE_URL cannot be read ({type(error).__name__}).") from None
        except UNAVAILABLE_ERRORS as error:
            if waiting.expired:
                sentence = (
                    f"PostgreSQL did not answer within {timeout_seconds:.0f} s: "
                    f"{describe_error(error)}. Check DATABASE_URL."
                )
                raise CannotStart(sentence) from error
            waiting.log(describe_error(error))
            await asyncio.sleep(0.5)


async def _read_revision(settings: DatabaseSettings) -> str | None:
    connection = await asyncpg.connect(settings.url, timeout=settings.timeout, statement_cache_size=0)
    try:
        async with connection.transaction():  # one server for all of it, behind PgBouncer too
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None
            revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    finally:
        await connection.close(timeout=settings.timeout)
