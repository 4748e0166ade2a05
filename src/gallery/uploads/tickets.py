"""What an upload ticket demands of an upload, whichever way the upload comes. All functions take any caller.

A use is taken in the transaction that adds the image, so that a failed upload takes none. Only an upload in several
requests takes its use as it begins, and gives it back if it ends without an image (`upload_rows`).
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

import msgspec

from gallery.access import ticket_rows
from gallery.access.model import Caller, UploadTicket
from gallery.adapters.postgres.database import Connection
from gallery.errors import MAX_ECHOED, InvalidField, TooLarge, TypeNotAccepted, UploadTicketUsedUp
from gallery.images.model import Image, ImageId
from gallery.uploads.add import TransactionHook, UploadResult

T = TypeVar("T")


def size_limit(caller: Caller, max_bytes: int) -> int:
    """The bytes that a file of the caller may have, where others may have `max_bytes`."""
    limit = None if caller.upload_ticket is None else caller.upload_ticket.rules.max_bytes
    return max_bytes if limit is None else min(limit, max_bytes)


@contextmanager
def size_limit_named(caller: Caller) -> Iterator[None]:
    """A `TooLarge` from the block names the ticket, if that has set the limit."""
    try:
        yield
    except TooLarge as error:
        if caller.upload_ticket is None or error.facts.get("limit") != caller.upload_ticket.rules.max_bytes:
            raise
        raise TooLarge(**{**error.facts, "set_by": "maxBytes of the upload ticket"}) from None


def check_use_left(caller: Caller) -> None:
    """Raises `UploadTicketUsedUp`, before any byte of the file. What counts is the use that is taken later."""
    if caller.upload_ticket is not None and not caller.upload_ticket.uses_left:
        raise UploadTicketUsedUp(ticket=caller.ticket_id)


@asynccontextmanager
async def checked_body(caller: Caller, body: AbstractAsyncContextManager[T], *, takes_use: bool) -> AsyncIterator[T]:
    """Reads `body`, if the ticket has a use left or the request takes none."""
    if takes_use:
        check_use_left(caller)
    with size_limit_named(caller):
        async with body as received:
            yield received


def apply_rules(caller: Caller, fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The text fields of an upload, with those that the ticket sets. Raises `InvalidField` for a contradiction."""
    sent = list(fields)
    if caller.upload_ticket is None:
        return sent
    rules = caller.upload_ticket.rules
    for name, value in (("visibility", rules.visibility), ("lane", rules.lane)):
        if value is not None:
            sent = [*_without(sent, name, value), (name, value)]
    return [*sent, *(("tags", tag) for tag in rules.tags)]


def _without(fields: list[tuple[str, str]], name: str, value: str) -> Iterator[tuple[str, str]]:
    for field, sent in fields:
        if field != name:
            yield field, sent
        elif sent.strip() and sent != value:
            raise InvalidField(f"/{name}", f'is "{sent[:MAX_ECHOED]}"; this upload ticket sets it to "{value}"')


def with_use(caller: Caller, hook: TransactionHook, *, taken: bool = False) -> TransactionHook:
    """A hook that also takes a use of the caller's ticket, unless it is `taken`, and lets the ticket read the image.

    It raises `UploadTicketUsedUp`, `TypeNotAccepted`, `CredentialNotValid` for a ticket that was revoked.
    """
    ticket = caller.upload_ticket
    if ticket is None:
        return hook

    async def take_use(db: Connection, uploaded: UploadResult) -> None:
        if not taken:
            await ticket_rows.take_use(db, ticket.id)
        await record(db, ticket, uploaded.image)
        await hook(db, uploaded)

    return take_use


async def record(db: Connection, ticket: UploadTicket, image: Image) -> None:
    """Let the ticket read the image, in the transaction that adds or finds it. Raises `TypeNotAccepted`."""
    accepted = ticket.rules.types
    if accepted and image.mime_type not in accepted:
        raise TypeNotAccepted(type=image.mime_type, accepted=", ".join(accepted))
    await ticket_rows.record(db, ticket.id, image.id)


def having_uploaded(caller: Caller, image: ImageId) -> Caller:
    """The caller after its upload of the image."""
    ticket = caller.upload_ticket
    if ticket is None:
        return caller
    later = msgspec.structs.replace(ticket, image_ids=ticket.image_ids | {image})
    return msgspec.structs.replace(caller, upload_ticket=later)
