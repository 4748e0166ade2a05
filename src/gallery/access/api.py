"""Sessions for browsers and tickets for the notification stream, over HTTP."""

import re
from typing import Any

from litestar import Request, Router, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Response
from msgspec import Struct

from gallery.access.model import AUTHENTICATED, PUBLIC, READ, Caller, CredentialKind, Scope
from gallery.access.service import Access
from gallery.errors import CredentialsRequired
from gallery.settings import Settings

COOKIE = "gallery_session"
FORWARDED_HTTPS = re.compile(r'\bproto\s*=\s*"?https\b', re.IGNORECASE)  # in a Forwarded header (RFC 7239)
NO_STORE_HEADERS = {"Cache-Control": "no-store"}

HTTPRequest = Request[Any, Any, Any]


class SessionView(Struct, frozen=True, rename="camel"):
    """The session's owner and scopes; `expiresIn` in seconds."""

    __schema_name__ = "Session"

    owner: str
    scopes: list[Scope]
    expires_in: int


class CallerView(Struct, frozen=True, rename="camel"):
    """The caller, authenticated by any credential."""

    __schema_name__ = "Caller"

    owner: str
    scopes: list[Scope]


class TicketView(Struct, frozen=True, rename="camel"):
    """For `?ticket=` in the stream's URL, reusable until it expires; `expiresIn` in seconds."""

    __schema_name__ = "StreamTicket"

    ticket: str
    expires_in: int


@post(
    "/session",
    opt=AUTHENTICATED,
    operation_id="signIn",
    summary="Sign in: exchange an API key or a JWT for a session cookie",
    responses={201: ResponseSpec(SessionView, description="Signed in", generate_examples=False)},
)
async def sign_in(
    request: HTTPRequest,
    caller: NamedDependency[Caller],
    access: NamedDependency[Access],
    settings: NamedDependency[Settings],
) -> Response[SessionView]:
    if caller.kind not in (CredentialKind.API_KEY, CredentialKind.TOKEN):
        raise CredentialsRequired
    text, seconds = await access.sessions.issue_session(caller)
    view = SessionView(caller.owner, sorted(caller.scopes), seconds)
    cookie = _cookie(request, settings, text, seconds)
    return Response(view, status_code=201, headers=NO_STORE_HEADERS, cookies=[cookie])


@get(
    "/session",
    opt=AUTHENTICATED,
    operation_id="getSession",
    summary="Read the caller's owner and scopes",
)
async def read_session(caller: NamedDependency[Caller]) -> Response[CallerView]:
    view = CallerView(caller.owner, sorted(caller.scopes))
    return Response(view, headers=NO_STORE_HEADERS)


@delete(
    "/session",
    opt=PUBLIC,
    status_code=204,
    operation_id="signOut",
    summary="Sign out: remove the session cookie",
    responses={204: ResponseSpec(None, description="Signed out")},
)
async def sign_out(request: HTTPRequest, settings: NamedDependency[Settings]) -> Response[None]:
    return Response(None, status_code=204, headers=NO_STORE_HEADERS, cookies=[_cookie(request, settings, "", 0)])


@post(
    "/notifications/ticket",
    opt=READ,
    operation_id="createStreamTicket",
    summary="Create a ticket for the stream",
    responses={
        201: ResponseSpec(TicketView, description="The ticket, valid for five minutes", generate_examples=False)
    },
)
async def create_ticket(caller: NamedDependency[Caller], access: NamedDependency[Access]) -> Response[TicketView]:
    """For clients that cannot send headers, such as a browser's `EventSource`: `?ticket=` in the stream's URL.

    A ticket opens any number of streams until it expires; an open stream continues after that.
    """
    text, seconds = await access.sessions.issue_ticket(caller)
    return Response(TicketView(text, seconds), status_code=201, headers=NO_STORE_HEADERS)


def router() -> Router:
    return Router("/api/v1", route_handlers=[sign_in, read_session, sign_out, create_ticket], tags=["access"])


def _cookie(request: HTTPRequest, settings: Settings, value: str, seconds: int) -> Cookie:
    return Cookie(
        key=COOKIE,
        value=value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="strict",
        secure=_is_https(request, settings),
    )


def _is_https(request: HTTPRequest, settings: Settings) -> bool:
    """Whether any hop of the request was HTTPS. Headers of any proxy count: they can only make the cookie stricter."""
    hops = ",".join(request.headers.getall("x-forwarded-proto", [])).lower().split(",")
    forwarded = ",".join(request.headers.getall("forwarded", []))
    return (
        "https" in (request.url.scheme, *(hop.strip() for hop in hops))
        or FORWARDED_HTTPS.search(forwarded) is not None
        or settings.public_url.lower().startswith("https:")
    )
