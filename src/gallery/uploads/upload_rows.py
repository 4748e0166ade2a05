"""The rows of uploads that arrive in several requests.

One request at a time holds an upload. The hold is a lease: the request renews it while bytes arrive, and one that has
heard nothing for `HOLD_PERIOD` can lose it to another. Every change checks the hold, so the loser changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from asyncpg import Record

from gallery.access import ticket_rows
from gallery.access.model import Owner
from gallery.adapters.objects.parts import StoredPart, UnfinishedUpload
from gallery.adapters.postgres.database import Connection
from gallery.errors import GalleryError, SavedError, UploadBusy, restore_error, saved_error
from gallery.images import object_rows
from gallery.images.model import ORIGINALS, ImageId
from gallery.uploads.model import Hold, Outcome, Protocol, Upload

RETENTION = timedelta(hours=24)  # after the last byte that arrived, and after the end
HOLD_PERIOD = timedelta(seconds=6)  # tus-js-client gives up nine seconds after a killed process has left its hold
ABANDONED_AFTER = timedelta(minutes=1)

# By name: a prepared `*` fails once, in the middle of a request, when an upgrade adds a column.
ALL_COLUMNS = """
    id, owner, ticket_id, protocol, size, announced, received, file_name, fields, sha256, idempotency_key, metadata,
    part_bytes, handle, tail_key, stored, created_at, expires_at, ended_at, image_id, duplicate, refusal
"""
FIND = f"SELECT {ALL_COLUMNS} FROM upload WHERE id = $1 AND expires_at > now()"
# Until the upload ends, its object is reserved without a term: `delete_expired` releases it.
RESERVE = "INSERT INTO object (key, image_id, remove_after) VALUES ($1, $2, 'infinity')"
FREE = "(holder IS NULL OR held_until <= now())"
HOLD = f"""
    UPDATE upload SET holder = $2, held_until = now() + $3::interval
    WHERE id = $1 AND ended_at IS NULL AND expires_at > now() AND {FREE} RETURNING {ALL_COLUMNS}
"""
HELD = "id = $1 AND holder = $2 AND ended_at IS NULL"
RENEW = f"UPDATE upload SET held_until = now() + $3::interval WHERE {HELD} RETURNING id"
OFFER = f"UPDATE upload SET held_until = now() WHERE {HELD}"
LET_GO = f"UPDATE upload SET holder = NULL, held_until = NULL WHERE {HELD}"
SET_SIZE = f"UPDATE upload SET size = $3 WHERE {HELD} AND received = $3 RETURNING id"
ANNOUNCE = f"UPDATE upload SET announced = $3 WHERE {HELD} AND size IS NULL RETURNING id"
HOLDER = "SELECT holder::text FROM upload WHERE id = $1 AND held_until > now() AND size IS NULL"
TAKE_FROM = "UPDATE upload SET holder = NULL, held_until = NULL WHERE id = $1 AND holder = $2 AND size IS NULL"
SET_HANDLE = f"UPDATE upload SET handle = $3 WHERE {HELD} RETURNING id"
TAKE_NUMBER = f"""
    UPDATE upload SET next_part = next_part + 1, held_until = now() + $3::interval WHERE {HELD} RETURNING next_part - 1
"""
ADD_PARTS = f"""
    WITH held AS (
        UPDATE upload SET received = $3, tail_key = NULL, held_until = now() + $4::interval,
                          expires_at = now() + $5::interval
        WHERE {HELD} RETURNING id, expires_at
    ), added AS (
        INSERT INTO upload_part (upload_id, number, start, size, etag)
        SELECT id, part.* FROM held, unnest($6::int[], $7::bigint[], $8::bigint[], $9::text[]) AS part
        ON CONFLICT (upload_id, number) DO UPDATE SET start = excluded.start, size = excluded.size, etag = excluded.etag
    )
    SELECT expires_at FROM held
"""
RESERVE_TAIL = f"""
    INSERT INTO object (key, image_id, remove_after) SELECT $3, id, 'infinity' FROM upload WHERE {HELD} RETURNING key
"""
TAILS = "SELECT key FROM object WHERE image_id = $1 AND key <> $2"
SET_TAILS = f"""
    UPDATE upload SET received = $3, tail_key = $4, held_until = now() + $5::interval, expires_at = now() + $6::interval
    WHERE {HELD} RETURNING expires_at
"""
SET_STORED = f"""
    UPDATE upload SET stored = true, received = $3, size = $3, tail_key = NULL, held_until = now() + $4::interval,
                      expires_at = now() + $5::interval
    WHERE {HELD} RETURNING expires_at
"""
PARTS = "SELECT number, start, size, etag FROM upload_part WHERE upload_id = $1 ORDER BY start"
END = f"""
    UPDATE upload SET ended_at = now(), image_id = $3, duplicate = $4, refusal = $5, holder = NULL, held_until = NULL,
                      expires_at = now() + $6::interval
    WHERE {HELD} RETURNING id, handle
"""
FORGET = f"DELETE FROM upload WHERE id = $1 RETURNING {ALL_COLUMNS}"
# In no order, here and below: one that cannot be ended must not keep others from it.
EXPIRED = f"""
    SELECT {ALL_COLUMNS} FROM upload WHERE expires_at <= now() AND ended_at IS NULL AND {FREE}
    ORDER BY random() LIMIT $1 FOR UPDATE SKIP LOCKED
"""
EXPIRE_OF_TICKET = """
    UPDATE upload SET expires_at = now(), holder = NULL, held_until = NULL WHERE ticket_id = $1 AND ended_at IS NULL
"""
DELETE_ENDED = """
    DELETE FROM upload WHERE id IN (
        SELECT id FROM upload WHERE expires_at <= now() AND ended_at IS NOT NULL ORDER BY expires_at LIMIT $1
    )
"""
ABANDONED = f"""
    SELECT {ALL_COLUMNS} FROM upload
    WHERE ended_at IS NULL AND received = size AND {FREE} AND expires_at BETWEEN now() AND now() + $1::interval
    ORDER BY random() LIMIT $2
"""
DELETE = "DELETE FROM upload WHERE id = $1"
KNOWN_HANDLES = "SELECT handle FROM upload WHERE handle = ANY($1::text[])"


async def find(db: Connection, id_: ImageId) -> Upload | None:
    """The upload, ended ones included; `None` if there is none or it has expired."""
    row = await db.fetchrow(FIND, id_)
    return None if row is None else from_row(row)


async def hold(db: Connection, id_: ImageId) -> Hold | None:
    """Take the upload for one request; `None` if it has ended or expired, or another request holds it."""
    holder = str(uuid4())
    row = await db.fetchrow(HOLD, id_, holder, HOLD_PERIOD)
    return None if row is None else Hold(from_row(row), holder)


async def renew(db: Connection, hold: Hold) -> bool:
    """Keep the hold for another `HOLD_PERIOD`; false if another request has taken it."""
    return await db.fetchval(RENEW, *_held(hold), HOLD_PERIOD) is not None


async def offer(db: Connection, hold: Hold) -> None:
    """Another request may take the upload now; until one does, this one may go on and renew its hold."""
    await db.execute(OFFER, *_held(hold))


async def let_go(db: Connection, hold: Hold) -> None:
    await db.execute(LET_GO, *_held(hold))


async def find_holder(db: Connection, id_: ImageId) -> str | None:
    """The request that writes an upload of which the size is not final yet."""
    holder: str | None = await db.fetchval(HOLDER, id_)
    return holder


async def take_from(db: Connection, id_: ImageId, holder: str) -> None:
    """End this hold: from now on its request can change nothing. One that has all bytes keeps it."""
    await db.execute(TAKE_FROM, id_, holder)


async def announce(db: Connection, hold: Hold, size: int) -> None:
    """The sender has said the size. Raises `UploadBusy`."""
    _require(await db.fetchval(ANNOUNCE, *_held(hold), size), hold)


async def set_size(db: Connection, hold: Hold, size: int) -> None:
    """All bytes are there: these `size`. Raises `UploadBusy`."""
    _require(await db.fetchval(SET_SIZE, *_held(hold), size), hold)


async def set_handle(db: Connection, hold: Hold, handle: str) -> None:
    """Raises `UploadBusy`."""
    _require(await db.fetchval(SET_HANDLE, *_held(hold), handle), hold)


async def take_number(db: Connection, hold: Hold) -> int:
    """The number of the next part, which no other put of this upload has. Raises `UploadBusy`."""
    number: int = _require(await db.fetchval(TAKE_NUMBER, *_held(hold), HOLD_PERIOD), hold)
    return number


async def add_parts(db: Connection, hold: Hold, parts: Sequence[StoredPart], received: int) -> datetime:
    """These parts are in the store, with all bytes before `received`; the tails are in them.

    Returns when the upload expires, as do those below. Raises `UploadBusy`.
    """
    columns = [[part[i] for part in parts] for i in range(4)]
    found = await db.fetchval(ADD_PARTS, *_held(hold), received, HOLD_PERIOD, RETENTION, *columns)
    expires_at: datetime = _require(found, hold)
    return expires_at


async def reserve_tail(db: Connection, hold: Hold, key: str) -> None:
    """Raises `UploadBusy`."""
    _require(await db.fetchval(RESERVE_TAIL, *_held(hold), key), hold)


async def release_tails(db: Connection, upload: Upload) -> None:
    """Those too that a request has reserved and not recorded."""
    await object_rows.release_keys(db, [row["key"] for row in await db.fetch(TAILS, upload.id, upload.key)])


async def set_tails(db: Connection, hold: Hold, keys: str, received: int) -> datetime:
    """The bytes after the last part are in these objects (`tails.keys`). Raises `UploadBusy`."""
    found = await db.fetchval(SET_TAILS, *_held(hold), received, keys, HOLD_PERIOD, RETENTION)
    expires_at: datetime = _require(found, hold)
    return expires_at


async def set_stored(db: Connection, hold: Hold, size: int) -> datetime:
    """All bytes are in the object with the original's key. Raises `UploadBusy`."""
    expires_at: datetime = _require(await db.fetchval(SET_STORED, *_held(hold), size, HOLD_PERIOD, RETENTION), hold)
    return expires_at


async def parts_of(db: Connection, id_: ImageId) -> list[StoredPart]:
    """The parts in the order of their bytes."""
    return [StoredPart(*row) for row in await db.fetch(PARTS, id_)]


async def end(db: Connection, hold: Hold, outcome: Outcome) -> str | None:
    """Record how the upload has ended. Returns the handle of its object, if that has begun. Raises `UploadBusy`."""
    refusal = None if outcome.refusal is None else msgspec.json.encode(saved_error(outcome.refusal))
    values = (outcome.image, outcome.duplicate, refusal, RETENTION)
    handle: str | None = _require(await db.fetchrow(END, *_held(hold), *values), hold)["handle"]
    return handle


async def give_back_use(db: Connection, upload: Upload) -> None:
    """Give back the use of an upload ticket that the upload took as it began: it has added no image."""
    if upload.ticket_id is not None:
        await ticket_rows.give_back_use(db, upload.ticket_id)


async def forget(db: Connection, id_: ImageId) -> Upload | None:
    """Delete an upload; one that has not ended loses its objects. Returns it, or `None` if there is none."""
    row = await db.fetchrow(FORGET, id_)
    if row is None:
        return None
    upload = from_row(row)
    if upload.outcome is None:
        await object_rows.release(db, id_)
        await give_back_use(db, upload)
    return upload


async def expire_of_ticket(db: Connection, ticket_id: str) -> None:
    """Let the uploads under way by this ticket expire now; their requests can change nothing any more."""
    await db.execute(EXPIRE_OF_TICKET, ticket_id)


async def lock_expired(db: Connection, limit: int) -> list[Upload]:
    """Uploads under way that have expired and are not held, locked until the transaction ends."""
    return [from_row(row) for row in await db.fetch(EXPIRED, limit)]


async def find_abandoned(db: Connection, limit: int) -> list[Upload]:
    """Uploads with all their bytes that no request has ended for `ABANDONED_AFTER`."""
    return [from_row(row) for row in await db.fetch(ABANDONED, RETENTION - ABANDONED_AFTER, limit)]


async def delete(db: Connection, upload: Upload) -> None:
    """Delete the row of an upload under way, and release its objects."""
    await object_rows.release(db, upload.id)
    await give_back_use(db, upload)
    await db.execute(DELETE, upload.id)


async def delete_ended(db: Connection, limit: int) -> None:
    """Delete up to `limit` rows of uploads that ended long ago."""
    await db.execute(DELETE_ENDED, limit)


async def unknown(db: Connection, uploads: Sequence[UnfinishedUpload]) -> list[UnfinishedUpload]:
    """Those of Gallery's that no row knows: a bucket may have unfinished uploads of other programs, too."""
    own = [upload for upload in uploads if upload.key.startswith(f"{ORIGINALS}/")]
    known = {row["handle"] for row in await db.fetch(KNOWN_HANDLES, [upload.handle for upload in own])}
    return [upload for upload in own if upload.handle not in known]


def _held(hold: Hold) -> tuple[ImageId, str]:
    return hold.upload.id, hold.holder


def _require(found: Any, hold: Hold) -> Any:
    if found is None:
        raise UploadBusy(upload=hold.upload.id)
    return found


def from_row(row: Record) -> Upload:
    return Upload(
        id=ImageId(row["id"]),
        owner=Owner(row["owner"]),
        ticket_id=row["ticket_id"],
        protocol=Protocol(row["protocol"]),
        size=row["size"],
        announced=row["announced"],
        received=row["received"],
        file_name=row["file_name"],
        fields=msgspec.json.decode(row["fields"], type=list[tuple[str, str]]),
        sha256=row["sha256"],
        idempotency_key=row["idempotency_key"],
        metadata=row["metadata"],
        part_bytes=row["part_bytes"],
        handle=row["handle"],
        tail_key=row["tail_key"],
        stored=row["stored"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        outcome=None if row["ended_at"] is None else _outcome(row),
    )


def _outcome(row: Record) -> Outcome:
    refusal: GalleryError | None = None
    if row["refusal"] is not None:
        refusal = restore_error(msgspec.json.decode(row["refusal"], type=SavedError))
    return Outcome(row["image_id"], row["duplicate"], refusal)
