"""Upload tickets over HTTP: made by an app's server, used by its pages."""

from typing import Annotated, Literal, TypeAlias

from litestar import delete, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody
from litestar.response import Response
from msgspec import Meta, Struct

from gallery.access.model import WRITE, Caller, UploadRules
from gallery.access.service import Access
from gallery.adapters.valkey.rates import UPLOADS
from gallery.images.model import Visibility
from gallery.images.schema import MAX_JSON_BYTES, Tags
from gallery.uploads.resumable import ResumableUploads

MAX_USES = 1000  # each request with a ticket reads the ids of all its images
MAX_SECONDS = 7 * 24 * 3600
PictureType: TypeAlias = Literal["image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/heic"]


class TicketRequest(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """`uses`: how many uploads the ticket is good for. `expiresIn`: for how many seconds, at most seven days, and no
    longer than the caller's credential. `maxBytes` and `types` limit each file; `visibility` and `lane` set
    these fields of each image; `tags` are added to those of the upload.
    """

    __schema_name__ = "UploadTicketRequest"

    uses: Annotated[int, Meta(ge=1, le=MAX_USES)] = 1
    expires_in: Annotated[int, Meta(ge=1, le=MAX_SECONDS)] = 600
    max_bytes: Annotated[int, Meta(ge=1, le=(1 << 63) - 1)] | None = None
    types: Annotated[list[PictureType], Meta(min_length=1)] | None = None
    visibility: Visibility | None = None
    tags: Tags | None = None
    lane: Literal["interactive", "bulk"] | None = None


class UploadTicketView(Struct, frozen=True, rename="camel"):
    """`ticket` is for `Authorization: Upload <ticket>`, and `?ticket=` in the stream's URL; `expiresIn` in seconds. The
    ticket cannot be read again; its `id` is for revoking it.
    """

    __schema_name__ = "UploadTicket"

    ticket: str
    expires_in: int
    id: str


@post(
    "/ticket",
    opt=WRITE | UPLOADS,
    operation_id="createUploadTicket",
    summary="Create a ticket by which a browser uploads",
    responses={201: ResponseSpec(UploadTicketView, description="The ticket, shown this once", generate_examples=False)},
    request_max_body_size=MAX_JSON_BYTES,
)
async def create_upload_ticket(
    caller: NamedDependency[Caller],
    access: NamedDependency[Access],
    data: JSONBody[TicketRequest | None] = None,
) -> Response[UploadTicketView]:
    """Give it to a page in place of a credential. By it the page uploads for you, within these limits, and reads the
    images that it has uploaded by it, and their events. Creating a ticket counts as an upload in the rate limits.
    """
    wanted = data or TicketRequest()
    ticket = await access.upload_tickets.create(caller, wanted.uses, wanted.expires_in, _rules(wanted))
    view = UploadTicketView(ticket.text, ticket.seconds, ticket.id)
    return Response(view, status_code=201, headers={"Cache-Control": "no-store"})


@delete(
    "/tickets/{ticket_id:str}",
    opt=WRITE,
    status_code=204,
    operation_id="revokeUploadTicket",
    summary="Revoke an upload ticket",
    responses={204: ResponseSpec(None, description="Revoked; its images stay")},
)
async def revoke_upload_ticket(
    ticket_id: FromPath[str],
    caller: NamedDependency[Caller],
    access: NamedDependency[Access],
    resumable_uploads: NamedDependency[ResumableUploads],
) -> None:
    """From now on the ticket is not valid, and its streams end within two seconds. Its uploads under way are gone, and
    the URLs of their parts with them.
    """
    await access.upload_tickets.revoke(caller, ticket_id)
    await resumable_uploads.end_of_ticket(ticket_id)


HANDLERS = [create_upload_ticket, revoke_upload_ticket]


def _rules(wanted: TicketRequest) -> UploadRules:
    return UploadRules(
        max_bytes=wanted.max_bytes,
        types=list(dict.fromkeys(wanted.types or [])),
        visibility=wanted.visibility,
        tags=list(dict.fromkeys(wanted.tags or [])),
        lane=wanted.lane,
    )
