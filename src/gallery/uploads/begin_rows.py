"""The first rows of an upload that arrives in several requests."""

from typing import Any

import msgspec
from msgspec import Struct

from gallery.access import ticket_rows
from gallery.access.model import Caller, Owner
from gallery.adapters.postgres.database import Connection
from gallery.errors import IdempotencyKeyReused, QuotaExceeded, StillInFlight, TooManyUploads
from gallery.images.model import ImageId, new_id, original_key
from gallery.settings import UploadSettings
from gallery.uploads.idempotency import find_response, fingerprint, key_of
from gallery.uploads.model import NewUpload, Upload, part_size
from gallery.uploads.upload_rows import ALL_COLUMNS, RESERVE, RETENTION, from_row

LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended('upload of ' || $1, 0))"


def under_way(owner: str) -> str:
    """SQL: the bytes that the uploads under way of `owner` have or will have."""
    return f"""
        coalesce((SELECT sum(coalesce(size, announced, received)) FROM upload
                  WHERE owner = {owner} AND ended_at IS NULL AND expires_at > now()), 0)::bigint
    """


# The uses of a ticket bound its uploads: so a page that leaves uploads behind does not keep its owner from uploading.
COUNT_UNDER_WAY = """
    SELECT count(*) FROM (
        SELECT FROM upload WHERE owner = $1 AND ticket_id IS NULL AND ended_at IS NULL AND expires_at > now() LIMIT $2
    ) AS found
"""
USED_BYTES = f"SELECT coalesce((SELECT bytes FROM storage WHERE owner = $1), 0) + {under_way('$1')}"
INSERT = f"""
    INSERT INTO upload (id, owner, ticket_id, protocol, size, announced, file_name, fields, sha256, idempotency_key,
                        metadata, part_bytes, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, now() + $13::interval) RETURNING {ALL_COLUMNS}
"""
END_ANSWERED = f"""
    UPDATE upload SET size = $2, received = $2, ended_at = now(), image_id = $3, duplicate = $4
    WHERE id = $1 RETURNING {ALL_COLUMNS}
"""
WITH_KEY = "owner = $1 AND ticket_id IS NOT DISTINCT FROM $2::uuid AND idempotency_key = $3"
FREE_KEY = f"UPDATE upload SET idempotency_key = NULL WHERE {WITH_KEY} AND expires_at <= now()"
FIND_BY_KEY = f"SELECT {ALL_COLUMNS} FROM upload WHERE {WITH_KEY} AND refusal IS NULL"


async def find_begun(db: Connection, caller: Caller, new: NewUpload) -> Upload | None:
    """The same upload, begun by this caller with the same idempotency key before; `None` if there is none.

    So is one that another way has answered: none of its bytes have to be sent. Until the transaction ends, the owner
    begins no other upload. Raises `IdempotencyKeyReused`, `StillInFlight` if the
    key is that of an upload by another way that has not ended.
    """
    await db.execute(LOCK_OWNER, caller.owner)
    if new.idempotency_key is None:
        return None
    key = (caller.owner, caller.ticket_id, new.idempotency_key)
    await db.execute(FREE_KEY, *key)
    row = await db.fetchrow(FIND_BY_KEY, *key)
    if row is None:
        return await _find_answered(db, caller, new, new.idempotency_key)
    begun = from_row(row)
    if not begun.is_repeated_by(new):
        raise IdempotencyKeyReused
    if begun.protocol is not new.protocol and begun.outcome is None:
        raise StillInFlight(upload=begun.id)
    return begun


class AnsweredImage(Struct, frozen=True):
    """Of the stored answer to an upload: the image as it was then, with the size of its original in bytes."""

    sha256: str
    size: int
    duplicate: bool


async def _find_answered(db: Connection, caller: Caller, new: NewUpload, key: str) -> Upload | None:
    """An upload that has ended at once, with the answer to an earlier request with its key by another way.

    Raises `IdempotencyKeyReused` if that request had other fields, or another file as far as `new` says it.
    """
    stored = await find_response(db, key_of(caller, key))
    if stored is None:
        return None
    image = msgspec.json.decode(stored.body, type=AnsweredImage)
    if (
        stored.fingerprint != fingerprint(new.fields, image.sha256)
        or new.length not in (None, image.size)
        or new.sha256 not in (None, image.sha256)
    ):
        raise IdempotencyKeyReused
    row = await db.fetchrow(INSERT, *_values(new_id(), caller, new, image.size))
    assert row is not None  # noqa: S101  an INSERT without a condition
    ended = await db.fetchrow(END_ANSWERED, row["id"], image.size, stored.image, image.duplicate)
    assert ended is not None  # noqa: S101  the row was added just now
    return from_row(ended)


async def used_bytes(db: Connection, owner: Owner) -> int:
    """Of the quota: what the owner has, with what is under way."""
    used: int = await db.fetchval(USED_BYTES, owner)
    return used


async def check_quota(db: Connection, upload: Upload, length: int, settings: UploadSettings) -> None:
    """For an upload under way of which the length is known by now. Raises `QuotaExceeded`."""
    if not settings.quota_bytes:
        return
    used = await used_bytes(db, upload.owner) - upload.received
    if used + length > settings.quota_bytes:
        raise QuotaExceeded(size=length, used=used, limit=settings.quota_bytes)


async def create(db: Connection, id_: ImageId, caller: Caller, new: NewUpload, settings: UploadSettings) -> Upload:
    """Add the upload, in the transaction of `find_begun`. What is under way counts for the quota.

    Takes a use of the caller's upload ticket. Raises `QuotaExceeded`, `TooManyUploads`, `UploadTicketUsedUp`.
    """
    size = settings.max_bytes if new.length is None else new.length
    if settings.quota_bytes:
        used = await used_bytes(db, caller.owner)
        if used + (new.length or 0) > settings.quota_bytes:
            raise QuotaExceeded(size=new.length or 0, used=used, limit=settings.quota_bytes)
    if caller.ticket_id is not None:
        await ticket_rows.take_use(db, caller.ticket_id)
    elif await db.fetchval(COUNT_UNDER_WAY, caller.owner, settings.max_under_way) >= settings.max_under_way:
        raise TooManyUploads(limit=settings.max_under_way)
    row = await db.fetchrow(INSERT, *_values(id_, caller, new, size))
    assert row is not None  # noqa: S101  an INSERT without a condition
    await db.execute(RESERVE, original_key(id_), id_)
    return from_row(row)


def _values(id_: ImageId, caller: Caller, new: NewUpload, size: int) -> tuple[Any, ...]:
    """The parameters of `INSERT`, for parts that fit a file of `size` bytes."""
    return (
        id_,
        caller.owner,
        caller.ticket_id,
        new.protocol,
        new.size,
        new.announced,
        new.file_name,
        msgspec.json.encode(new.fields),
        new.sha256,
        new.idempotency_key,
        new.metadata,
        part_size(size, new.protocol),
        RETENTION,
    )
