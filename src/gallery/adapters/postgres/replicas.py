"""Read replicas: the choice of one that may answer now, and the error when none may.

A task probes them: first the position that the primary has written, then the position that each replica has replayed. A
replica is as of the last moment at which the primary had written no more than that. Only this machine's clock is used,
and a replica that is cut off from its primary ages like a slow one. A replica that is too old, dead, or not one of this
primary is left out until it is well again.

Each connection is asked for its position anew, because one host name may stand for several servers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

import asyncpg
import structlog

from gallery.adapters.postgres.pools import UNAVAILABLE_ERRORS, Connection, close_pool, make_pool
from gallery.adapters.postgres.positions import UNKNOWN_POSITION, Positions
from gallery.background import cancel_and_wait
from gallery.errors import DatabaseUnavailable, ValkeyUnavailable, describe_error
from gallery.settings import DatabaseSettings

log = structlog.get_logger(__name__)

T = TypeVar("T")
ConnectPrimary: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]

PROBE_INTERVAL_SECONDS = 0.5
READ_TIMEOUT_SECONDS = 3.0  # for a replica's answer; after it the primary is read
FEED_CATCH_UP_SECONDS = 1.5  # by then every feed has read a commit by itself, see `notifications.feed.POLL_SECONDS`
NOT_PROBED_YET = "it has not been probed yet"
NEVER = float("-inf")

PRIMARY_POSITION = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
REPLAYED_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END"
)
INSTALLATION_ID = "SELECT id FROM installation"


class NoReplica(Exception):
    """No replica can answer, for this reason."""


class Replica:
    """A replica and its state."""

    def __init__(self, url: str, settings: DatabaseSettings) -> None:
        self.name = urlsplit(url).netloc.rpartition("@")[2]
        self.problem: str | None = NOT_PROBED_YET
        self.replayed = 0
        self._as_of = NEVER
        self._max_lag = settings.replica_max_lag
        self._pgbouncer = settings.pgbouncer
        self._pool = make_pool(url, settings)
        self._probe_pool = make_pool(url, settings, max_size=1)  # free even when all others are in use

    @property
    def lag(self) -> float:
        """The most seconds that its data may be behind; infinity while unknown."""
        return asyncio.get_running_loop().time() - self._as_of

    @property
    def usable(self) -> bool:
        return self.problem is None and not self._is_stale(self._as_of)

    def _is_stale(self, as_of: float) -> bool:
        return asyncio.get_running_loop().time() - as_of > self._max_lag

    async def read(self, query: Callable[[Connection], Awaitable[T]], required: int, history: "PositionHistory") -> T:
        """The result of `query` here. Raises `NoReplica` if it has not replayed `required`, is late, or fails."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._connection() as db:
                replayed = await db.fetchval(REPLAYED_POSITION)
                if replayed is None or replayed < required or self._is_stale(history.as_of(replayed)):
                    raise NoReplica(f"{self.name} has not replayed the change yet")
                return await query(db)
        except ValueError:  # an invalid argument, for any server
            raise
        except TimeoutError as error:  # it may only be busy: the probe finds out whether it hangs
            raise NoReplica(f"{self.name} takes too long") from error
        except UNAVAILABLE_ERRORS as error:
            self.mark_failed(describe_error(error))
            raise NoReplica(self.name) from error
        except asyncpg.PostgresError as error:  # the primary decides whether the query itself is wrong
            log.info("replica.refused", replica=self.name, error=describe_error(error))
            raise NoReplica(self.name) from error

    async def probe(self, history: "PositionHistory", installation: str) -> None:
        """Update its state and its position."""
        before = self.usable
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._probe_pool.acquire() as db, self._pinned(db):
                replayed, found = await db.fetchval(REPLAYED_POSITION), str(await db.fetchval(INSTALLATION_ID))
        except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
            self.mark_failed(describe_error(error))
            return
        if replayed is None or found != installation:
            self.mark_failed("it is not a replica" if replayed is None else "it belongs to another Gallery")
            return
        self.problem, self.replayed, self._as_of = None, replayed, history.as_of(replayed)
        if self.usable != before:
            event = "replica.used" if self.usable else "replica.left_out"
            log.info(event, replica=self.name, lag=round(self.lag, 1))

    def mark_failed(self, reason: str) -> None:
        if self.problem is None:
            log.warning("replica.left_out", replica=self.name, error=reason)
        self.problem = reason

    async def open(self) -> None:
        await self._pool
        await self._probe_pool

    async def close(self) -> None:
        await close_pool(self._pool)
        await close_pool(self._probe_pool)

    def _pinned(self, connection: Connection) -> AbstractAsyncContextManager[object]:
        """Makes PgBouncer send all statements to one server."""
        return connection.transaction(readonly=True) if self._pgbouncer else nullcontext()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._pool.acquire()
        try:
            async with self._pinned(connection):
                yield connection
        except (*UNAVAILABLE_ERRORS, asyncio.CancelledError):
            connection.terminate()  # it may still wait for an answer; the next caller shall not
            raise
        finally:
            await self._pool.release(connection)


class PositionHistory:
    """The positions of the primary, with the times at which they were read."""

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, moment: float, position: int) -> None:
        self._samples.append((moment, position))
        while self._samples[0][0] < moment - self._max_age - 1:
            self._samples.popleft()

    def as_of(self, replayed: int) -> float:
        """The last time at which the primary had certainly written no more than `replayed`."""
        return next((moment for moment, position in reversed(self._samples) if position <= replayed), NEVER)


class Replicas:
    def __init__(self, replicas: list[Replica], primary: ConnectPrimary, positions: Positions, max_lag: float) -> None:
        self.all = replicas
        self._primary = primary
        self._positions = positions
        self._history = PositionHistory(max_lag)
        self._next_index = 0
        self._probe_task: asyncio.Task[None] | None = None
        self._probe_now = asyncio.Event()

    async def read(self, query: Callable[[Connection], Awaitable[T]], subject: str) -> T:
        """The result of `query` from a replica that has every published change of `subject`. Raises `NoReplica`."""
        replica = self._next_replica()
        required = await self._positions.find_required(subject)
        if required is None:
            raise NoReplica("the position it needs is not known")
        return await replica.read(query, required, self._history)

    async def record_changes(self, subjects: Iterable[str]) -> None:
        """After this no replica answers about `subjects` without the changes committed so far."""
        try:
            async with self._primary() as db:
                position = int(await db.fetchval(PRIMARY_POSITION))
        except (DatabaseUnavailable, asyncpg.PostgresError):
            position = UNKNOWN_POSITION
        try:
            await self._positions.record(subjects, position)
        except ValkeyUnavailable:
            await self._wait_for_all(position)

    async def close(self) -> None:
        if self._probe_task is not None:
            await cancel_and_wait(self._probe_task)
            await asyncio.gather(*(replica.close() for replica in self.all))

    def _next_replica(self) -> Replica:
        """Round-robin over the usable replicas. The first read starts the probes. Raises `NoReplica`."""
        if self._probe_task is None:
            self._probe_task = asyncio.create_task(self._probe_loop(), name="replicas")
        usable = [replica for replica in self.all if replica.usable]
        if not usable:
            raise NoReplica("none is usable")
        self._next_index += 1
        return usable[self._next_index % len(usable)]

    async def _wait_for_all(self, position: int) -> None:
        """Without Valkey: wait until all replicas have `position`, or every feed has read the change by itself."""
        deadline = asyncio.get_running_loop().time() + FEED_CATCH_UP_SECONDS
        while any(r.replayed < position for r in self.all if r.usable) and asyncio.get_running_loop().time() < deadline:
            self._probe_now.set()
            await asyncio.sleep(0.02)

    async def _probe_loop(self) -> None:
        await asyncio.gather(*(replica.open() for replica in self.all))
        while True:
            self._probe_now.clear()
            try:
                await self._probe_all()
            except (DatabaseUnavailable, asyncpg.PostgresError) as error:  # the replicas age, and are left out
                log.warning("replicas.not_probed", error=describe_error(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL_SECONDS):
                    await self._probe_now.wait()

    async def _probe_all(self) -> None:
        async with self._primary() as db:
            moment = asyncio.get_running_loop().time()  # before the query: the primary had no more by then
            self._history.add(moment, int(await db.fetchval(PRIMARY_POSITION)))
            installation = str(await db.fetchval(INSTALLATION_ID))
        await asyncio.gather(*(replica.probe(self._history, installation) for replica in self.all))
