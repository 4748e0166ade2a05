"""Who is at the door, asked once per request and before anything of it is read.

A route says what it needs in its `opt` (`access/model.py: Door`); one that says nothing lets only admins in. What a
handler is given as `caller` is whoever this has found.
"""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import HTTPScope

from gallery.access.api import COOKIE
from gallery.access.model import CLOSED, OPEN_MODE_CALLER, STRANGER, Caller, Door, Kind
from gallery.access.service import Access, Shown
from gallery.errors import CredentialsRequired, ForeignOrigin, ImageNotFound, ScopeMissing, Unauthorized, Unavailable
from gallery.settings import Settings, origins
from gallery.web.middleware.cors import may_write, same_origin
from gallery.web.middleware.open_mode import READING

Connection = ASGIConnection[Any, Any, Any, Any]


class Doorkeeper:
    """A guard for every route of the application."""

    def __init__(self, access: Access, settings: Settings) -> None:
        self._access = access
        self._origin = _origin(settings.public_url)
        self._welcome = origins(settings.cors_origin)

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        door: Door = handler.opt.get("door", CLOSED)
        if connection.scope.get("method") == "OPTIONS":
            door = Door(None, known=False)
        caller = connection.state.caller = await self._let_in(connection, door)
        if caller.key:
            structlog.contextvars.bind_contextvars(caller=f"key:{caller.key}")

    async def _let_in(self, connection: Connection, door: Door) -> Caller:
        """Raises `CredentialsRequired`, `CredentialNotValid`, `ScopeMissing`, `LinkNotValid`, `Unavailable`."""
        if not door.known:
            return OPEN_MODE_CALLER if self._access.open else STRANGER
        if door.links and "sig" in connection.query_params:
            return await self._access.links.caller(_image(connection), connection.query_params, door.links)
        if door.ticket and "ticket" in connection.query_params:
            return await self._access.by_ticket(connection.query_params["ticket"])
        caller = await who(self._access, connection)
        if door.public:
            return caller  # what they may see of it is asked of the image
        if caller.kind is Kind.STRANGER:
            raise CredentialsRequired
        if door.scope is not None and not caller.may(door.scope):
            raise ScopeMissing(door.scope)
        self._check_origin(connection, caller)
        return caller

    def _check_origin(self, connection: Connection, caller: Caller) -> None:
        """A browser sends the cookie by itself, whoever's page it is: only ours may write by it, and welcome ones."""
        if caller.kind is not Kind.SESSION or connection.scope.get("method") in READING:
            return
        origin = connection.headers.get("origin", "")
        if same_origin(origin, connection.headers.get("host", "")) or origin.lower() == self._origin:
            return
        if not may_write(self._welcome, connection.scope, origin):
            raise ForeignOrigin(origin=origin)


async def who(access: Access, connection: Connection) -> Caller:
    """Whoever the request's headers say it is from, asked once; a stranger where they say nothing.

    Raises `CredentialNotValid`, `Unavailable`.
    """
    if "known" not in connection.state:
        try:
            connection.state.known = await access.caller(shown(connection))
        except (Unauthorized, Unavailable) as error:
            connection.state.known = error
    known: Caller | Unauthorized | Unavailable = connection.state.known
    if isinstance(known, Caller):
        return known
    raise known


class Callers:
    """Whose requests are counted together: a key's, else an owner's. See `web/middleware/rate_limit.py: Callers`."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def verified(self, scope: HTTPScope) -> bool:
        return self._access.verified(shown(ASGIConnection(scope)))

    async def name(self, scope: HTTPScope) -> str | None:
        return (await who(self._access, ASGIConnection(scope))).counted_as


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    caller: Caller = request.state.caller
    return caller


def shown(connection: Connection) -> Shown:
    """The credentials that a request brings."""
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    return Shown(
        bearer=text.strip() if scheme.lower() == "bearer" else None,
        api_key=connection.headers.get("x-api-key"),
        session=connection.cookies.get(COOKIE),
    )


def _image(connection: Connection) -> str:
    text = str(connection.path_params.get("image_id", ""))
    try:
        return str(UUID(text))
    except ValueError:
        raise ImageNotFound(image=text) from None


def _origin(url: str) -> str | None:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else None
