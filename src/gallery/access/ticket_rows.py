"""Upload tickets in PostgreSQL. A use is taken by one statement, in the transaction that adds the image.

All times are the database's.
"""

from collections.abc import Collection
from datetime import timedelta

from asyncpg import Record
from msgspec import Struct

from gallery.access.model import Owner, UploadRules
from gallery.adapters.postgres.database import Connection
from gallery.errors import CredentialNotValid, UploadTicketUsedUp

KEEP_EXPIRED = timedelta(days=1)  # an upload that began in time finds its ticket at its end

ADD = """
    INSERT INTO upload_ticket (id, hash, owner, api_key_id, signing_key_id, uses, uses_left, max_bytes, types,
                               visibility, tags, lane, expires_at)
    VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9, $10, $11, now() + $12::interval)
"""
FIND = """
    SELECT id, hash, owner, api_key_id, signing_key_id, uses_left, max_bytes, types, visibility, tags, lane, revoked_at,
           extract(epoch FROM expires_at - now())::double precision AS seconds_left,
           ARRAY(SELECT image_id::text FROM upload_ticket_image WHERE ticket_id = id) AS image_ids
    FROM upload_ticket WHERE id = $1
"""
REVOKE = """
    UPDATE upload_ticket SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 AND ($2::text IS NULL OR owner = $2)
    RETURNING true
"""
TAKE_USE = """
    UPDATE upload_ticket SET uses_left = uses_left - 1 WHERE id = $1 AND uses_left > 0 AND revoked_at IS NULL
    RETURNING true
"""
IS_REVOKED = "SELECT NOT EXISTS (SELECT FROM upload_ticket WHERE id = $1 AND revoked_at IS NULL)"
GIVE_BACK_USE = "UPDATE upload_ticket SET uses_left = uses_left + 1 WHERE id = $1 AND uses_left < uses"
RECORD = "INSERT INTO upload_ticket_image (ticket_id, image_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"
IMAGES = "SELECT image_id::text FROM upload_ticket_image WHERE ticket_id = $1"
FIND_UPLOADED = """
    SELECT ticket_id::text, image_id::text FROM upload_ticket_image
    WHERE ticket_id = ANY($1::uuid[]) AND image_id = ANY($2::uuid[])
"""
DELETE_EXPIRED = """
    DELETE FROM upload_ticket WHERE id IN (
        SELECT id FROM upload_ticket WHERE expires_at <= now() - $2::interval ORDER BY expires_at LIMIT $1
    )
"""


class TicketRow(Struct, frozen=True, kw_only=True):
    """A ticket as stored, with the ids of the images that it has uploaded; `hash` is the SHA-256 of its secret."""

    id: str
    hash: bytes
    owner: Owner
    api_key_id: str | None
    signing_key_id: str | None
    uses_left: int
    rules: UploadRules
    image_ids: frozenset[str]
    seconds_left: float  # until it expires
    revoked: bool


class NewTicket(Struct, frozen=True, kw_only=True):
    id: str
    hash: bytes
    owner: Owner
    api_key_id: str | None
    signing_key_id: str | None
    uses: int
    rules: UploadRules
    lifetime: timedelta


async def add(db: Connection, ticket: NewTicket) -> None:
    rules = ticket.rules
    await db.execute(
        ADD,
        ticket.id,
        ticket.hash,
        ticket.owner,
        ticket.api_key_id,
        ticket.signing_key_id,
        ticket.uses,
        rules.max_bytes,
        rules.types,
        rules.visibility,
        rules.tags,
        rules.lane,
        ticket.lifetime,
    )


async def find(db: Connection, ticket_id: str) -> TicketRow | None:
    row = await db.fetchrow(FIND, ticket_id)
    return None if row is None else _from_row(row)


async def is_revoked(db: Connection, ticket_id: str) -> bool:
    """Whether the ticket is revoked, or expired so long ago that it is deleted."""
    return bool(await db.fetchval(IS_REVOKED, ticket_id))


async def revoke(db: Connection, ticket_id: str, owner: Owner | None) -> bool:
    """Whether the owner (or, with `None`, any owner) has such a ticket, which is revoked now."""
    return bool(await db.fetchval(REVOKE, ticket_id, owner))


async def take_use(db: Connection, ticket_id: str) -> None:
    """Take a use in the caller's transaction; the ticket may have expired since the upload began.

    Raises `UploadTicketUsedUp`, `CredentialNotValid` for a revoked ticket.
    """
    if await db.fetchval(TAKE_USE, ticket_id):
        return
    if await is_revoked(db, ticket_id):
        raise CredentialNotValid(reason="ticket revoked during the upload", ticket=ticket_id)
    raise UploadTicketUsedUp(ticket=ticket_id)


async def give_back_use(db: Connection, ticket_id: str) -> None:
    """Give back the use of an upload that took one and has ended without an image."""
    await db.execute(GIVE_BACK_USE, ticket_id)


async def record(db: Connection, ticket_id: str, image_id: str) -> None:
    """Let the ticket read the image, in the transaction that adds or finds it."""
    await db.execute(RECORD, ticket_id, image_id)


async def images_of(db: Connection, ticket_id: str) -> frozenset[str]:
    return frozenset(row["image_id"] for row in await db.fetch(IMAGES, ticket_id))


async def find_uploaded(
    db: Connection, ticket_ids: Collection[str], image_ids: Collection[str]
) -> list[tuple[str, str]]:
    """Of these tickets and images, each ticket with each image that it has uploaded."""
    rows = await db.fetch(FIND_UPLOADED, list(ticket_ids), list(image_ids))
    return [(row["ticket_id"], row["image_id"]) for row in rows]


async def delete_expired(db: Connection, limit: int) -> None:
    """Delete up to `limit` tickets that have expired a day ago."""
    await db.execute(DELETE_EXPIRED, limit, KEEP_EXPIRED)


def _from_row(row: Record) -> TicketRow:
    return TicketRow(
        id=str(row["id"]),
        hash=row["hash"],
        owner=Owner(row["owner"]),
        api_key_id=row["api_key_id"],
        signing_key_id=row["signing_key_id"],
        uses_left=row["uses_left"],
        rules=UploadRules(
            max_bytes=row["max_bytes"],
            types=row["types"],
            visibility=row["visibility"],
            tags=row["tags"],
            lane=row["lane"],
        ),
        image_ids=frozenset(row["image_ids"]),
        seconds_left=row["seconds_left"],
        revoked=row["revoked_at"] is not None,
    )
