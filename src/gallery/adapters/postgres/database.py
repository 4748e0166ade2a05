"""PostgreSQL: three kinds of access, and one error for every failure to reach it.

`primary()` yields a connection for single statements, reads and writes; `writing()` opens a transaction; `read()` may
use a replica. A server that is unavailable, restarting, read-only or too slow raises `DatabaseUnavailable`; an error in
a statement stays asyncpg's own error.
"""

import asyncio
import re
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

__all__ = [
    "SCHEMA_REVISION",
    "Connection",
    "Database",
    "check_schema",
    "explain_schema",
    "open_database",
    "wait_for_database",
]

log = structlog.get_logger(__name__)

T = TypeVar("T")

SCHEMA_REVISION = "012"  # the newest migration; a test compares it with the folder
REVISION = re.compile(r"\d{3}")
UNRELEASED_REVISION = re.compile(r"00\d\d")  # the numbering before the first release: 0001 to 0012


class Database:
    def __init__(self, pool: Pool, settings: DatabaseSettings) -> None:
        self._pool = pool
        self._timeout = settings.timeout
        self._replicas: Replicas | None = None

    @asynccontextmanager
    async def primary(self) -> AsyncIterator[Connection]:
        """A connection for single statements, each committed by itself. Raises `DatabaseUnavailable`."""
        metrics.CONNECTIONS.add(1)
        try:
            with translate_errors():
                async with asyncio.timeout(self._timeout):  # asyncpg's own time-out makes a task for each use
                    connection = await self._pool.acquire()
                try:
                    yield connection
                finally:
                    await self._release(connection)
        finally:
            metrics.CONNECTIONS.add(-1)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection in a transaction, which an error in the block rolls back. Raises `DatabaseUnavailable`."""
        async with self.primary() as connection, connection.transaction():
            yield connection

    async def read(self, query: Callable[[Connection], Awaitable[T]], subject: str) -> T:
        """The result of `query`, perhaps from a replica that has every published change of `subject`.

        Otherwise the data may be some seconds old. `query` must only read, and may be called again. A result of `None`
        is always checked on the primary. Raises `DatabaseUnavailable`.
        """
        if self._replicas is not None:
            try:
                answer = await self._replicas.read(query, subject)
            except NoReplica as reason:
                log.debug("database.replica_skipped", subject=subject, reason=str(reason))
            else:
                if answer is not None:
                    return answer
        async with self.primary() as db:
            return await query(db)

    async def record_changes(self, subjects: Iterable[str]) -> None:
        """Record that changes of `subjects` were committed. To be called before they are published."""
        if self._replicas is not None:
            await self._replicas.record_changes(subjects)

    async def ping(self) -> None:
        async with self.primary() as db:
            await db.fetchval("SELECT 1")

    @property
    def replicas(self) -> list[Replica]:
        """Each replica and its state."""
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
        except UNAVAILABLE_ERRORS as error:  # the pool opens a new connection when it needs one
            log.debug("database.connection_lost", error=describe_error(error))


@asynccontextmanager
async def open_database(settings: DatabaseSettings, valkey: Valkey | None = None) -> AsyncIterator[Database]:
    """The database at `settings.url`, which must answer already; see `wait_for_database`.

    Its replicas are used only with a Valkey, where all processes record the positions that readers need.
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
    """Wait until PostgreSQL answers; returns the schema's revision. Raises `CannotStart` after `timeout_seconds`."""
    waiting = StartupWait("database.waiting", "DATABASE_URL", timeout_seconds)
    while True:
        try:
            return await _read_revision(settings)
        except (asyncpg.InvalidPasswordError, asyncpg.InvalidCatalogNameError) as error:
            raise CannotStart(f"PostgreSQL refuses the connection: {error}. Check DATABASE_URL.") from error
        except (ValueError, asyncpg.ClientConfigurationError) as error:
            raise CannotStart(f"DATABASE_URL is not a valid PostgreSQL URL ({type(error).__name__}).") from None
        except UNAVAILABLE_ERRORS as error:
            if waiting.expired:
                sentence = (
                    f"PostgreSQL did not answer within {timeout_seconds:.0f} s: "
                    f"{describe_error(error)}. Check DATABASE_URL."
                )
                raise CannotStart(sentence) from error
            waiting.log(describe_error(error))
            await asyncio.sleep(0.5)


def check_schema(subject: str, revision: str) -> None:
    """Raises `CannotStart` when this Gallery cannot bring the `subject` up to date from that revision."""
    if problem := explain_schema(revision):
        raise CannotStart(f"{subject} is at schema {revision}, {': '.join(problem)}.")


def explain_schema(revision: str) -> tuple[str, str] | None:
    """The fault of a revision that this Gallery cannot migrate, and the remedy. `None` for one that it can."""
    if UNRELEASED_REVISION.fullmatch(revision):
        return (
            "of the numbering before the first release, which cannot be upgraded",
            "use a new database (or a new GALLERY_DATA_DIR), and upload the images again",
        )
    if not REVISION.fullmatch(revision):
        return "which no Gallery has", "check DATABASE_URL"
    if revision > SCHEMA_REVISION:  # three digits each, so their order is that of the numbers
        return f"newer than this Gallery's {SCHEMA_REVISION}", "upgrade Gallery"
    return None


async def _read_revision(settings: DatabaseSettings) -> str | None:
    connection = await asyncpg.connect(settings.url, timeout=settings.timeout, statement_cache_size=0)
    try:
        async with connection.transaction():  # both statements on one server, behind PgBouncer too
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None
            revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return revision
    finally:
        await connection.close(timeout=settings.timeout)
