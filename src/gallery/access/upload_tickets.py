"""Upload tickets: `gt_<id>_<secret>`, by which a browser uploads a few images and reads them, and nothing else.

Each ticket is a row, and each request with one reads it: so its uses, its images and its revocation are exact in all
processes. The secret has 256 random bits, so a plain SHA-256 of it is enough to store. See decision 0129.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID, uuid4

import structlog
from msgspec import Struct

from gallery.access import ticket_rows
from gallery.access.model import Caller, CredentialKind, UploadRules, UploadTicket
from gallery.access.ticket_rows import NewTicket, TicketRow
from gallery.adapters.postgres.database import Database
from gallery.errors import CredentialNotValid, UploadTicketNotFound

log = structlog.get_logger(__name__)

TICKET_PATTERN = re.compile(r"gt_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


class IssuedTicket(Struct, frozen=True):
    """A new ticket: `text` is not stored and cannot be shown again; `seconds` is its lifetime."""

    id: str
    text: str
    seconds: int


def looks_like_upload_ticket(text: str) -> bool:
    return text.startswith("gt_")


class UploadTickets:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, caller: Caller, uses: int, seconds: int, rules: UploadRules) -> IssuedTicket:
        """A ticket for images of the caller's owner. It does not outlive the caller's credential."""
        left = seconds if caller.expires_at is None else min(seconds, int(caller.expires_at - time.time()))
        id_, secret = uuid4(), secrets.token_urlsafe(32)
        ticket = NewTicket(
            id=str(id_),
            hash=_digest(secret),
            owner=caller.owner,
            api_key_id=caller.api_key_id,
            signing_key_id=caller.signing_key_id,
            uses=uses,
            rules=rules,
            lifetime=timedelta(seconds=max(0, left)),
        )
        async with self._database.primary() as db:
            await ticket_rows.add(db, ticket)
        log.info("upload_ticket.created", ticket=ticket.id, owner=caller.owner, uses=uses, seconds=left)
        return IssuedTicket(ticket.id, f"gt_{id_.hex}_{secret}", max(0, left))

    async def revoke(self, caller: Caller, ticket_id: str) -> None:
        """Raises `UploadTicketNotFound`, also for a ticket of another owner."""
        async with self._database.primary() as db:
            if not await ticket_rows.revoke(db, _parse_id(ticket_id), caller.owner_filter):
                raise UploadTicketNotFound(ticket=ticket_id)
        log.info("upload_ticket.revoked", ticket=ticket_id)

    async def authenticate(self, text: str) -> Caller:
        """The caller with this ticket. Raises `CredentialNotValid`, `DatabaseUnavailable`."""
        match = TICKET_PATTERN.fullmatch(text)
        if match is None:
            raise CredentialNotValid(reason="malformed upload ticket")
        id_, secret = str(UUID(match[1])), match[2]
        async with self._database.primary() as db:
            row = await ticket_rows.find(db, id_)
        if row is None or not hmac.compare_digest(row.hash, _digest(secret)):
            raise CredentialNotValid(reason="unknown upload ticket", ticket=id_)
        if row.revoked or row.seconds_left <= 0:
            raise CredentialNotValid(reason="upload ticket revoked or expired", ticket=id_)
        return _caller(row)

    async def find(self, ticket_id: str) -> Caller:
        """The caller of a ticket, which may have expired: an upload that began in time may end. Raises as above."""
        async with self._database.primary() as db:
            row = await ticket_rows.find(db, ticket_id)
        if row is None or row.revoked:
            raise CredentialNotValid(reason="upload ticket revoked", ticket=ticket_id)
        return _caller(row)

    async def is_revoked(self, ticket_id: str) -> bool:
        """Raises `DatabaseUnavailable`."""
        async with self._database.primary() as db:
            return await ticket_rows.is_revoked(db, ticket_id)

    async def images_of(self, ticket_id: str) -> frozenset[str]:
        """The ids of the images that the ticket has uploaded. Raises `DatabaseUnavailable`."""
        async with self._database.primary() as db:
            return await ticket_rows.images_of(db, ticket_id)

    async def find_uploaded(self, ticket_ids: Collection[str], image_ids: Collection[str]) -> list[tuple[str, str]]:
        """Of these tickets and images, each ticket with each image that it has uploaded.

        Raises `DatabaseUnavailable`.
        """
        async with self._database.primary() as db:
            return await ticket_rows.find_uploaded(db, ticket_ids, image_ids)


def _caller(row: TicketRow) -> Caller:
    return Caller(
        owner=row.owner,
        kind=CredentialKind.UPLOAD_TICKET,
        expires_at=time.time() + row.seconds_left,  # the database's clock decides, not this machine's
        api_key_id=row.api_key_id,
        signing_key_id=row.signing_key_id,
        upload_ticket=UploadTicket(id=row.id, uses_left=row.uses_left, rules=row.rules, image_ids=row.image_ids),
    )


def _parse_id(text: str) -> str:
    """Raises `UploadTicketNotFound`."""
    try:
        return str(UUID(text))
    except ValueError:
        raise UploadTicketNotFound(ticket=text) from None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
