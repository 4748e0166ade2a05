"""One answer for each `Idempotency-Key`: a repeated request gets the answer of the first one.

A request locks its key with a lease, which is renewed while the request runs and ends some seconds after its process
has died. The answer is stored in the transaction that adds the image, so there is no image without its answer and no
answer without its image. A request that fails stores no answer, and its key may be used again.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import timedelta
from uuid import uuid4

import msgspec
import structlog
from asyncpg import Record
from msgspec import Struct

from gallery.access.model import Caller, Owner
from gallery.adapters.postgres.database import Connection, Database
from gallery.background import run_in_background
from gallery.errors import DatabaseUnavailable, IdempotencyKeyReused, StillInFlight
from gallery.images.model import ImageId

log = structlog.get_logger(__name__)

ROUTE = "POST /api/v1/images"  # of all ways to upload: a key is for one upload, however it is sent
RETENTION = timedelta(hours=24)
RELEASE_RETRY_SECONDS = 0.5

ACQUIRE = """
    INSERT INTO idempotency (owner, route, key, holder, ends_at) VALUES ($1, $2, $3, $4, now() + $5::interval)
    ON CONFLICT (owner, route, key) DO UPDATE
    SET holder = excluded.holder, ends_at = excluded.ends_at, fingerprint = NULL, status = NULL, image_id = NULL,
        body = NULL
    WHERE idempotency.ends_at <= now() OR (idempotency.holder = excluded.holder AND idempotency.status IS NULL)
    RETURNING true
"""
FIND_RESPONSE = """
    SELECT fingerprint, status, image_id, body FROM idempotency
    WHERE owner = $1 AND route = $2 AND key = $3 AND status IS NOT NULL AND ends_at > now()
"""
HELD = "owner = $1 AND route = $2 AND key = $3 AND holder = $4 AND status IS NULL"
RENEW = f"UPDATE idempotency SET ends_at = now() + $5::interval WHERE {HELD}"
RELEASE = f"DELETE FROM idempotency WHERE {HELD}"
STORE_RESPONSE = f"""
    UPDATE idempotency SET fingerprint = $5, status = $6, image_id = $7, body = $8, ends_at = now() + $9::interval
    WHERE {HELD} RETURNING true
"""
DELETE_EXPIRED = """
    DELETE FROM idempotency WHERE (owner, route, key) IN (
        SELECT owner, route, key FROM idempotency WHERE ends_at <= now() ORDER BY ends_at LIMIT $1
    )
"""


class IdempotencyKey(Struct, frozen=True):
    """A client's key, valid for one owner and one route."""

    owner: Owner
    route: str
    value: str


class StoredResponse(Struct, frozen=True):
    """A stored answer: HTTP status, image and body. `fingerprint` identifies the content of its request."""

    fingerprint: str
    status: int
    image: ImageId
    body: bytes


def key_of(caller: Caller, value: str) -> IdempotencyKey:
    """A ticket's keys are its own, so it finds no other answers of its owner."""
    route = ROUTE if caller.ticket_id is None else f"{ROUTE} {caller.ticket_id}"
    return IdempotencyKey(caller.owner, route, value)


def fingerprint(fields: Sequence[tuple[str, str]], sha256: str) -> str:
    """A hash of an upload's content: the order of different fields does not count."""
    ordered = sorted(fields, key=lambda field: field[0])
    return hashlib.sha256(msgspec.json.encode([ordered, sha256])).hexdigest()


async def find_response(db: Connection, key: IdempotencyKey) -> StoredResponse | None:
    """The answer to an earlier request with this key, for those that have no file yet to compare with it."""
    row = await db.fetchrow(FIND_RESPONSE, key.owner, key.route, key.value)
    return None if row is None else _stored(row)


class KeyLock:
    """One request's lock on its key; a request without a key has a lock that does nothing."""

    def __init__(
        self, key: IdempotencyKey | None, stored: StoredResponse | None = None, holder: str | None = None
    ) -> None:
        self._key = key
        self._stored = stored
        self._holder = holder or str(uuid4())

    @property
    def parameters(self) -> tuple[str, ...]:
        return () if self._key is None else (self._key.owner, self._key.route, self._key.value, self._holder)

    @property
    def answered(self) -> bool:
        """Whether there is a stored answer, perhaps to a different request."""
        return self._stored is not None

    def find_response(self, fingerprint: str) -> StoredResponse | None:
        """The stored answer, if there is one. Raises `IdempotencyKeyReused` if it belongs to a different request."""
        if self._stored is not None and self._stored.fingerprint != fingerprint:
            raise IdempotencyKeyReused
        return self._stored

    async def store_response(self, db: Connection, response: StoredResponse) -> None:
        """Store the answer in the transaction of its image. Raises `StillInFlight` if the lease was lost."""
        if self._key is None:
            return
        kept = (response.fingerprint, response.status, response.image, response.body)
        if not await db.fetchval(STORE_RESPONSE, *self.parameters, *kept, RETENTION):
            raise StillInFlight


class Idempotency:
    def __init__(self, database: Database, lease: timedelta) -> None:
        self._database = database
        self._lease = lease
        self._releasing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lock(self, key: IdempotencyKey | None, holder: str | None = None) -> AsyncIterator[KeyLock]:
        """Lock the key for the block, and release it if the block fails. Raises `StillInFlight`.

        `holder`, a UUID, takes the lock over from a process that died with it; otherwise each lock has another holder.
        """
        key_lock = await self._acquire(key, holder) if key else KeyLock(None)
        renewing = run_in_background(self._renew(key_lock), "idempotency") if key else nullcontext()
        try:
            async with renewing:
                yield key_lock
        except BaseException:
            await asyncio.shield(self._release(key_lock))
            raise

    async def _acquire(self, key: IdempotencyKey, holder: str | None) -> KeyLock:
        lock = KeyLock(key, holder=holder)
        async with self._database.primary() as db:
            if await db.fetchval(ACQUIRE, *lock.parameters, self._lease):
                return lock
            row = await db.fetchrow(FIND_RESPONSE, *lock.parameters[:3])
        if row is None:
            raise StillInFlight
        return KeyLock(key, _stored(row))

    async def _renew(self, lock: KeyLock) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                async with self._database.primary() as db:
                    await db.execute(RENEW, *lock.parameters, self._lease)
            except DatabaseUnavailable as error:
                log.warning("idempotency.not_renewed", error=str(error))  # `store_response` checks the lease again

    async def _release(self, lock: KeyLock) -> None:
        """Release the key; while the database is unavailable, try again until the lease has ended by itself."""
        if lock.parameters and not await self._try_release(lock):
            later = asyncio.create_task(self._release_later(lock))
            self._releasing.add(later)
            later.add_done_callback(self._releasing.discard)

    async def _release_later(self, lock: KeyLock) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease.total_seconds()):
                while not await self._try_release(lock):  # noqa: ASYNC110  there is no event to wait for
                    await asyncio.sleep(RELEASE_RETRY_SECONDS)

    async def _try_release(self, lock: KeyLock) -> bool:
        try:
            async with self._database.primary() as db:
                await db.execute(RELEASE, *lock.parameters)
        except DatabaseUnavailable as error:
            log.warning("idempotency.not_released", error=str(error))
            return False
        return True


def _stored(row: Record) -> StoredResponse:
    return StoredResponse(row["fingerprint"], row["status"], ImageId(row["image_id"]), row["body"])


async def delete_expired(db: Connection, limit: int) -> None:
    """Delete up to `limit` expired answers and leases."""
    await db.execute(DELETE_EXPIRED, limit)
