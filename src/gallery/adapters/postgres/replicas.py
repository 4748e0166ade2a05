"""Read replicas: which of them may answer now, and what to do when none may.

A task looks at all of them: what the primary has written, then what each has replayed. A replica is as of the last
moment at which the primary had no more than that: no clock but ours is compared, and a replica that is cut off from its
primary ages like one that is slow. One that is too old, dead, or no replica of this primary is left out until it is
well again.

Each connection is asked anew how far its server is, for a name may stand for several servers.
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

PROBE_INTERVAL_SECONDS = 0.5  # seconds
READ_TIMEOUT_SECONDS = 3.0  # seconds for a replica's answer; then the primary is asked
FEED_CATCH_UP_SECONDS = 1.5  # seconds in which every feed has read a commit by itself, see `notifications.feed.POLL`
NOT_PROBED_YET = "it has not answered yet"
NEVER = float("-inf")

PRIMARY_POSITION = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
REPLAYED_POSITION = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END"
)
INSTALLATION_ID = "SELECT id FROM installation"


class NoReplica(Exception):
    """No replica can answer, for this reason."""


class Replica:
    """One of them, and what we know of it."""

    def __init__(self, url: str, settings: DatabaseSettings) -> None:
        self.name = urlsplit(url).netloc.rpartition("@")[2]
        self.problem: str | None = NOT_PROBED_YET
        self.replayed = 0
        self._as_of = NEVER
        self._max_lag = settings.replica_max_lag
        self._pgbouncer = settings.pgbouncer
        self._pool = make_pool(url, settings)
        self._probe_pool = make_pool(url, settings, max_size=1)  # has a place also when all the others are taken

    @property
    def lag(self) -> float:
        """By how many seconds it may be behind; infinity while we do not know."""
        return asyncio.get_running_loop().time() - self._as_of

    @property
    def usable(self) -> bool:
        return self.problem is None and not self._is_stale(self._as_of)

    def _is_stale(self, as_of: float) -> bool:
        return asyncio.get_running_loop().time() - as_of > self._max_lag

    async def read(self, query: Callable[[Connection], Awaitable[T]], required: int, history: "PositionHistory") -> T:
        """What `read` reads here. Raises `NoReplica` if it has not replayed `needed`, is late, or fails at it."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._connection() as db:
                replayed = await db.fetchval(REPLAYED_POSITION)
                if replayed is None or replayed < required or self._is_stale(history.as_of(replayed)):
                    raise NoReplica(f"{self.name} is not there yet")
                return await query(db)
        except ValueError:  # of an argument that does not fit anywhere
            raise
        except TimeoutError as error:  # it may only be busy: whether it hangs is seen by who looks at it
            raise NoReplica(f"{self.name} takes too long") from error
        except UNAVAILABLE_ERRORS as error:
            self.mark_failed(describe_error(error))
            raise NoReplica(self.name) from error
        except asyncpg.PostgresError as error:  # whatever it is: the primary says whether it is true
            log.info("replica.refused", replica=self.name, error=describe_error(error))
            raise NoReplica(self.name) from error

    async def probe(self, history: "PositionHistory", installation: str) -> None:
        """See whether it is well, and how far."""
        before = self.usable
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS), self._probe_pool.acquire() as db, self._pinned(db):
                replayed, theirs = await db.fetchval(REPLAYED_POSITION), str(await db.fetchval(INSTALLATION_ID))
        except (*UNAVAILABLE_ERRORS, asyncpg.PostgresError) as error:
            self.mark_failed(describe_error(error))
            return
        if replayed is None or theirs != installation:
            self.mark_failed("it is no replica" if replayed is None else "it is of another Gallery")
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
        """So that all statements go to one server."""
        return connection.transaction(readonly=True) if self._pgbouncer else nullcontext()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = await self._pool.acquire()
        try:
            async with self._pinned(connection):
                yield connection
        except (*UNAVAILABLE_ERRORS, asyncio.CancelledError):
            connection.terminate()  # whatever it waits for, nobody else shall wait for it
            raise
        finally:
            await self._pool.release(connection)


class PositionHistory:
    """Up to where the primary had written, and when."""

    def __init__(self, max_age: float) -> None:
        self._max_age = max_age
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, moment: float, position: int) -> None:
        self._samples.append((moment, position))
        while self._samples[0][0] < moment - self._max_age - 1:
            self._samples.popleft()

    def as_of(self, replayed: int) -> float:
        """The last moment at which we know that there was no more than that."""
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
        """What `read` reads from a replica that has all that anybody was told of `subject`. Raises `NoReplica`."""
        replica = self._next_replica()
        needed = await self._positions.find_required(subject)
        if needed is None:
            raise NoReplica("what it would need is not known")
        return await replica.read(query, needed, self._history)

    async def record_changes(self, subjects: Iterable[str]) -> None:
        """Nobody reads of `subjects` from a replica without what has been committed by now."""
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
        """One after the other; who never reads does not look at them either. Raises `NoReplica`."""
        if self._probe_task is None:
            self._probe_task = asyncio.create_task(self._probe_loop(), name="replicas")
        used = [replica for replica in self.all if replica.usable]
        if not used:
            raise NoReplica("none is well")
        self._next_index += 1
        return used[self._next_index % len(used)]

    async def _wait_for_all(self, position: int) -> None:
        """Nobody can be told what to wait for: wait until all have it, or every process has read of it by itself."""
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
            except (DatabaseUnavailable, asyncpg.PostgresError) as error:  # then they get older, and are left out
                log.warning("replicas.not_compared", error=describe_error(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_INTERVAL_SECONDS):
                    await self._probe_now.wait()

    async def _probe_all(self) -> None:
        async with self._primary() as db:
            moment = asyncio.get_running_loop().time()  # before we ask: then there was no more than we are told
            self._history.add(moment, int(await db.fetchval(PRIMARY_POSITION)))
            installation = str(await db.fetchval(INSTALLATION_ID))
        await asyncio.gather(*(replica.probe(self._history, installation) for replica in self.all))
