"""One answer for one `Idempotency-Key`: a request that is sent again is answered as it was the first time.

A key is held as a lease: renewed while its request is being answered, ended by itself some seconds after the process
that answers has died. The answer is written in the transaction that makes it true, so there is never an image without
its answer nor an answer without its image; what is refused or fails writes none, and may be tried again with the key.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from uuid import uuid4

import structlog
from msgspec import Struct

from gallery.access.model import Owner
from gallery.adapters.postgres.database import Connection, Database
from gallery.background import beside
from gallery.errors import DatabaseAway, IdempotencyKeyReused, StillInFlight
from gallery.images.model import ImageId

log = structlog.get_logger(__name__)

KEEP = timedelta(hours=24)
RELEASE_EVERY = 0.5  # seconds, while the database is away

BEGIN = """
    INSERT INTO idempotency (owner, route, key, holder, ends_at) VALUES ($1, $2, $3, $4, now() + $5::interval)
    ON CONFLICT (owner, route, key) DO UPDATE
    SET holder = excluded.holder, ends_at = excluded.ends_at, fingerprint = NULL, status = NULL, image_id = NULL,
        body = NULL
    WHERE idempotency.ends_at <= now()
    RETURNING true
"""
ANSWERED = """
    SELECT fingerprint, status, image_id, body FROM idempotency
    WHERE owner = $1 AND route = $2 AND key = $3 AND status IS NOT NULL
"""
OURS = "owner = $1 AND route = $2 AND key = $3 AND holder = $4 AND status IS NULL"
RENEW = f"UPDATE idempotency SET ends_at = now() + $5::interval WHERE {OURS}"
RELEASE = f"DELETE FROM idempotency WHERE {OURS}"
FINISH = f"""
    UPDATE idempotency SET fingerprint = $5, status = $6, image_id = $7, body = $8, ends_at = now() + $9::interval
    WHERE {OURS} RETURNING true
"""
EXPIRE = """
    DELETE FROM idempotency WHERE (owner, route, key) IN (
        SELECT owner, route, key FROM idempotency WHERE ends_at <= now() ORDER BY ends_at LIMIT $1
    )
"""


class Key(Struct, frozen=True):
    """A client's key: good for one owner and one route."""

    owner: Owner
    route: str
    name: str


class Answer(Struct, frozen=True):
    """What was answered: the status, the image it tells of, and the body. `fingerprint` tells requests apart."""

    fingerprint: str
    status: int
    image: ImageId
    body: bytes


class Hold:
    """One request's hold on its key, or its hold on nothing when it has none."""

    def __init__(self, key: Key | None, answered: Answer | None = None) -> None:
        self._key = key
        self._answered = answered
        self._holder = str(uuid4())

    @property
    def ours(self) -> tuple[str, ...]:
        return () if self._key is None else (self._key.owner, self._key.route, self._key.name, self._holder)

    def answered(self, fingerprint: str) -> Answer | None:
        """The answer that this request has had already. Raises `IdempotencyKeyReused` when it was another request."""
        if self._answered is not None and self._answered.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        return self._answered

    async def finish(self, db: Connection, answer: Answer) -> None:
        """Keep the answer, in the transaction that makes it true. Raises `StillInFlight` if the lease was lost."""
        if self._key is None:
            return
        kept = (answer.fingerprint, answer.status, answer.image, answer.body)
        if not await db.fetchval(FINISH, *self.ours, *kept, KEEP):
            raise StillInFlight


class Idempotency:
    def __init__(self, database: Database, lease: timedelta) -> None:
        self._database = database
        self._lease = lease
        self._releasing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def hold(self, key: Key | None) -> AsyncIterator[Hold]:
        """This request's hold on its key, given back at the end unless it was finished. Raises `StillInFlight`."""
        hold = await self._begin(key) if key else Hold(None)
        renewing = beside(self._renew(hold), "idempotency") if key else nullcontext()
        try:
            async with renewing:
                yield hold
        except BaseException:
            await asyncio.shield(self._release(hold))
            raise

    async def _begin(self, key: Key) -> Hold:
        hold = Hold(key)
        async with self._database.primary() as db:
            if await db.fetchval(BEGIN, *hold.ours, self._lease):
                return hold
            row = await db.fetchrow(ANSWERED, *hold.ours[:3])
        if row is None:
            raise StillInFlight
        return Hold(key, Answer(row["fingerprint"], row["status"], ImageId(row["image_id"]), row["body"]))

    async def _renew(self, hold: Hold) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                async with self._database.primary() as db:
                    await db.execute(RENEW, *hold.ours, self._lease)
            except DatabaseAway as error:
                log.warning("idempotency.not_renewed", error=str(error))  # finishing asks again whose it is

    async def _release(self, hold: Hold) -> None:
        """Give the key back; where the database is away, as soon as it is there again, or the lease ends by itself."""
        if hold.ours and not await self._released(hold):
            later = asyncio.create_task(self._release_later(hold))
            self._releasing.add(later)
            later.add_done_callback(self._releasing.discard)

    async def _release_later(self, hold: Hold) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease.total_seconds()):
                while not await self._released(hold):  # noqa: ASYNC110  nobody tells us that it is back
                    await asyncio.sleep(RELEASE_EVERY)

    async def _released(self, hold: Hold) -> bool:
        try:
            async with self._database.primary() as db:
                await db.execute(RELEASE, *hold.ours)
        except DatabaseAway as error:
            log.warning("idempotency.not_released", error=str(error))
            return False
        return True


async def expire(db: Connection, limit: int) -> None:
    """Forget answers that are old enough, and leases that nobody holds."""
    await db.execute(EXPIRE, limit)
