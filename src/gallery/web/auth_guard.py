"""Who is at the door, asked once per request and before anything of it is read.

A route says what it needs in its `opt` (`access/model.py: RoutePolicy`); one that says nothing lets only admins in.
What a handler is given as `caller` is whoever this has found.
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
from gallery.access.model import ANONYMOUS, DEFAULT_POLICY, OPEN_MODE_CALLER, Caller, CredentialKind, RoutePolicy
from gallery.access.service import Access, Credentials
from gallery.errors import CredentialsRequired, ForeignOrigin, ImageNotFound, ScopeMissing, Unauthorized, Unavailable
from gallery.settings import Settings, parse_origins
from gallery.web.middleware.cors import may_write_from, same_origin
from gallery.web.middleware.open_mode import SAFE_METHODS

Connection = ASGIConnection[Any, Any, Any, Any]


class AuthGuard:
    """A guard for every route of the application."""

    def __init__(self, access: Access, settings: Settings) -> None:
        self._access = access
        self._public_origin = _origin_of(settings.public_url)
        self._allowed_origins = parse_origins(settings.cors_origin)

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        policy: RoutePolicy = handler.opt.get("door", DEFAULT_POLICY)
        if connection.scope.get("method") == "OPTIONS":
            policy = RoutePolicy(None, authenticate=False)
        caller = connection.state.caller = await self._authorize(connection, policy)
        if caller.api_key_id:
            structlog.contextvars.bind_contextvars(caller=f"key:{caller.api_key_id}")

    async def _authorize(self, connection: Connection, policy: RoutePolicy) -> Caller:
        """Raises `CredentialsRequired`, `CredentialNotValid`, `ScopeMissing`, `LinkNotValid`, `Unavailable`."""
        if not policy.authenticate:
            return OPEN_MODE_CALLER if self._access.open else ANONYMOUS
        if policy.link_purposes and "sig" in connection.query_params:
            return await self._access.links.authenticate(
                _image_id(connection), connection.query_params, policy.link_purposes
            )
        if policy.allow_ticket and "ticket" in connection.query_params:
            return await self._access.authenticate_ticket(connection.query_params["ticket"])
        caller = await authenticate(self._access, connection)
        if policy.allow_anonymous:
            return caller  # what they may see of it is asked of the image
        if caller.kind is CredentialKind.ANONYMOUS:
            raise CredentialsRequired
        if policy.scope is not None and not caller.may(policy.scope):
            raise ScopeMissing(policy.scope)
        self._check_origin(connection, caller)
        return caller

    def _check_origin(self, connection: Connection, caller: Caller) -> None:
        """A browser sends the cookie by itself, whoever's page it is: only ours may write by it, and welcome ones."""
        if caller.kind is not CredentialKind.SESSION or connection.scope.get("method") in SAFE_METHODS:
            return
        origin = connection.headers.get("origin", "")
        if same_origin(origin, connection.headers.get("host", "")) or origin.lower() == self._public_origin:
            return
        if not may_write_from(self._allowed_origins, connection.scope, origin):
            raise ForeignOrigin(origin=origin)


async def authenticate(access: Access, connection: Connection) -> Caller:
    """Whoever the request's headers say it is from, asked once; a stranger where they say nothing.

    Raises `CredentialNotValid`, `Unavailable`.
    """
    if "known" not in connection.state:
        try:
            connection.state.known = await access.authenticate(credentials_of(connection))
        except (Unauthorized, Unavailable) as error:
            connection.state.known = error
    result: Caller | Unauthorized | Unavailable = connection.state.known
    if isinstance(result, Caller):
        return result
    raise result


class CallerKeys:
    """Whose requests are counted together: a key's, else an owner's. See `web/middleware/rate_limit.py:
    RateLimitKeys`.
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def is_verified(self, scope: HTTPScope) -> bool:
        return self._access.is_verified(credentials_of(ASGIConnection(scope)))

    async def find_key(self, scope: HTTPScope) -> str | None:
        return (await authenticate(self._access, ASGIConnection(scope))).rate_limit_key


def caller_of(request: Request[Any, Any, Any]) -> Caller:
    caller: Caller = request.state.caller
    return caller


def credentials_of(connection: Connection) -> Credentials:
    """The credentials that a request brings."""
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    return Credentials(
        bearer=text.strip() if scheme.lower() == "bearer" else None,
        api_key=connection.headers.get("x-api-key"),
        session=connection.cookies.get(COOKIE),
    )


def _image_id(connection: Connection) -> str:
    text = str(connection.path_params.get("image_id", ""))
    try:
        return str(UUID(text))
    except ValueError:
        raise ImageNotFound(image=text) from None


def _origin_of(url: str) -> str | None:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else None
