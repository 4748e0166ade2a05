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

from gallery.adapters.postgres.pools import AWAY, Connection, close, make_pool
from gallery.adapters.postgres.positions import UNKNOWN, Positions
from gallery.background import end
from gallery.errors import DatabaseAway, ValkeyAway, in_words
from gallery.settings import Database as Settings

log = structlog.get_logger(__name__)

T = TypeVar("T")
Primary: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]

PROBE_EVERY = 0.5  # seconds
PATIENCE = 3.0  # seconds for a replica's answer; then the primary is asked
FEEDS_HAVE_SEEN = 1.5  # seconds in which every feed has read a commit by itself, see `notifications.feed.POLL`
NOT_YET = "it has not answered yet"
NEVER = float("-inf")

POSITION = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
REPLAYED = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint END"
WHO = "SELECT id FROM installation"


class NoReplica(Exception):
    """No replica can answer, for this reason."""


class Replica:
    """One of them, and what we know of it."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.name = urlsplit(url).netloc.rpartition("@")[2]
        self.trouble: str | None = NOT_YET
        self.replayed = 0
        self._as_of = NEVER
        self._longest_lag = settings.replica_max_lag
        self._bounced = settings.pgbouncer
        self._pool = make_pool(url, settings)
        self._probe = make_pool(url, settings, most=1)  # has a place also when all the others are taken

    @property
    def lag(self) -> float:
        """By how many seconds it may be behind; infinity while we do not know."""
        return asyncio.get_running_loop().time() - self._as_of

    @property
    def used(self) -> bool:
        return self.trouble is None and not self._late(self._as_of)

    def _late(self, as_of: float) -> bool:
        return asyncio.get_running_loop().time() - as_of > self._longest_lag

    async def ask(self, ask: Callable[[Connection], Awaitable[T]], needed: int, history: "History") -> T:
        """What `ask` reads here. Raises `NoReplica` if it has not replayed `needed`, is late, or fails at it."""
        try:
            async with asyncio.timeout(PATIENCE), self._connected() as db:
                replayed = await db.fetchval(REPLAYED)
                if replayed is None or replayed < needed or self._late(history.as_of(replayed)):
                    raise NoReplica(f"{self.name} is not there yet")
                return await ask(db)
        except ValueError:  # of an argument that does not fit anywhere
            raise
        except TimeoutError as error:  # it may only be busy: whether it hangs is seen by who looks at it
            raise NoReplica(f"{self.name} takes too long") from error
        except AWAY as error:
            self.fails(in_words(error))
            raise NoReplica(self.name) from error
        except asyncpg.PostgresError as error:  # whatever it is: the primary says whether it is true
            log.info("replica.refused", replica=self.name, error=in_words(error))
            raise NoReplica(self.name) from error

    async def look(self, history: "History", installation: str) -> None:
        """See whether it is well, and how far."""
        before = self.used
        try:
            async with asyncio.timeout(PATIENCE), self._probe.acquire() as db, self._held(db):
                replayed, theirs = await db.fetchval(REPLAYED), str(await db.fetchval(WHO))
        except (*AWAY, asyncpg.PostgresError) as error:
            self.fails(in_words(error))
            return
        if replayed is None or theirs != installation:
            self.fails("it is no replica" if replayed is None else "it is of another Gallery")
            return
        self.trouble, self.replayed, self._as_of = None, replayed, history.as_of(replayed)
        if self.used != before:
            event = "replica.used" if self.used else "replica.left_out"
            log.info(event, replica=self.name, lag=round(self.lag, 1))

    def fails(self, why: str) -> None:
        if self.trouble is None:
            log.warning("replica.left_out", replica=self.name, error=why)
        self.trouble = why

    async def open(self) -> None:
        await self._pool
        await self._probe

    async def close(self) -> None:
        await close(self._pool)
        await close(self._probe)

    def _held(self, connection: Connection) -> AbstractAsyncContextManager[object]:
        """So that all statements go to one server."""
        return connection.transaction(readonly=True) if self._bounced else nullcontext()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        connection = await self._pool.acquire()
        try:
            async with self._held(connection):
                yield connection
        except (*AWAY, asyncio.CancelledError):
            connection.terminate()  # whatever it waits for, nobody else shall wait for it
            raise
        finally:
            await self._pool.release(connection)


class History:
    """Up to where the primary had written, and when."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, moment: float, position: int) -> None:
        self._seen.append((moment, position))
        while self._seen[0][0] < moment - self._longest - 1:
            self._seen.popleft()

    def as_of(self, replayed: int) -> float:
        """The last moment at which we know that there was no more than that."""
        return next((moment for moment, position in reversed(self._seen) if position <= replayed), NEVER)


class Replicas:
    def __init__(self, replicas: list[Replica], primary: Primary, positions: Positions, longest_lag: float) -> None:
        self.all = replicas
        self._primary = primary
        self._positions = positions
        self._history = History(longest_lag)
        self._turn = 0
        self._looking: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()

    async def read(self, ask: Callable[[Connection], Awaitable[T]], subject: str) -> T:
        """What `ask` reads from a replica that has all that anybody was told of `subject`. Raises `NoReplica`."""
        replica = self._next()
        needed = await self._positions.newest(subject)
        if needed is None:
            raise NoReplica("what it would need is not known")
        return await replica.ask(ask, needed, self._history)

    async def changed(self, subjects: Iterable[str]) -> None:
        """Nobody reads of `subjects` from a replica without what has been committed by now."""
        try:
            async with self._primary() as db:
                position = int(await db.fetchval(POSITION))
        except (DatabaseAway, asyncpg.PostgresError):
            position = UNKNOWN
        try:
            await self._positions.note(subjects, position)
        except ValkeyAway:
            await self._all_have(position)

    async def close(self) -> None:
        if self._looking is not None:
            await end(self._looking)
            await asyncio.gather(*(replica.close() for replica in self.all))

    def _next(self) -> Replica:
        """One after the other; who never reads does not look at them either. Raises `NoReplica`."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="replicas")
        used = [replica for replica in self.all if replica.used]
        if not used:
            raise NoReplica("none is well")
        self._turn += 1
        return used[self._turn % len(used)]

    async def _all_have(self, position: int) -> None:
        """Nobody can be told what to wait for: wait until all have it, or every process has read of it by itself."""
        deadline = asyncio.get_running_loop().time() + FEEDS_HAVE_SEEN
        while any(r.replayed < position for r in self.all if r.used) and asyncio.get_running_loop().time() < deadline:
            self._look_now.set()
            await asyncio.sleep(0.02)

    async def _look(self) -> None:
        await asyncio.gather(*(replica.open() for replica in self.all))
        while True:
            self._look_now.clear()
            try:
                await self._look_once()
            except (DatabaseAway, asyncpg.PostgresError) as error:  # then they get older, and are left out
                log.warning("replicas.not_compared", error=in_words(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(PROBE_EVERY):
                    await self._look_now.wait()

    async def _look_once(self) -> None:
        async with self._primary() as db:
            moment = asyncio.get_running_loop().time()  # before we ask: then there was no more than we are told
            self._history.add(moment, int(await db.fetchval(POSITION)))
            installation = str(await db.fetchval(WHO))
        await asyncio.gather(*(replica.look(self._history, installation) for replica in self.all))
