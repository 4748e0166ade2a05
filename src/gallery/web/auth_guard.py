"""Checks each request against the policy of its route, before the body is read.

A route's `opt` holds its policy (`access/model.py: RoutePolicy`); a route without one is for admins only. The caller
that the guard has found is the dependency `caller` of the handlers, or `access/authorized.py: caller_of`.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from litestar.connection import ASGIConnection
from litestar.types import ASGIApp, Receive, Scope, Send

from gallery.access.model import (
    ANONYMOUS,
    DEFAULT_POLICY,
    OPEN_MODE_CALLER,
    Caller,
    CredentialKind,
    Purpose,
    RoutePolicy,
)
from gallery.access.service import Access
from gallery.errors import CredentialsRequired, ForeignOrigin, ImageNotFound, ScopeMissing, UploadTicketNotEnough
from gallery.settings import Settings, parse_origins
from gallery.web.authentication import authenticated_caller, set_authorized
from gallery.web.middleware.cors import may_write_from, same_origin
from gallery.web.middleware.open_mode import SAFE_METHODS
from gallery.web.routing import set_logged_caller

Connection = ASGIConnection[Any, Any, Any, Any]


class AuthGuard:
    """A middleware of every route of the application.

    Litestar runs it after its router has found the route, so `path_params` are there. For a guard of its own kind it
    would copy the route's handler for each request (decision 0121).
    """

    def __init__(self, app: ASGIApp, access: Access, settings: Settings) -> None:
        self._app = app
        self._access = access
        self._public_origin = _origin_of(settings.public_url)
        self._allowed_origins = parse_origins(settings.cors_origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy: RoutePolicy = scope["route_handler"].opt.get("policy", DEFAULT_POLICY)
        if scope.get("method") == "OPTIONS":
            policy = RoutePolicy(None, authenticate=False)
        caller = await self._authorize(ASGIConnection(scope), policy)
        set_authorized(scope, caller)
        logged = caller.logged_as
        if logged is not None:
            structlog.contextvars.bind_contextvars(caller=logged)
            set_logged_caller(scope, logged)
        await self._app(scope, receive, send)

    async def _authorize(self, connection: Connection, policy: RoutePolicy) -> Caller:
        """Raises `CredentialsRequired`, `CredentialNotValid`, `ScopeMissing`, `UploadTicketNotEnough`, `LinkNotValid`,
        `Unavailable`.
        """
        if not policy.authenticate:
            return OPEN_MODE_CALLER if self._access.open else ANONYMOUS
        if policy.link_purposes and "sig" in connection.query_params:
            return await self._authenticate_link(connection, policy.link_purposes)
        if policy.allow_ticket and "ticket" in connection.query_params:
            return await self._access.authenticate_ticket(connection.query_params["ticket"])
        caller = await authenticated_caller(self._access, connection.scope)
        if caller.upload_ticket is not None:
            return _check_upload_ticket(caller, policy)
        if policy.allow_anonymous:
            return caller  # `Caller.may_see` decides for each image
        if caller.kind is CredentialKind.ANONYMOUS:
            raise CredentialsRequired
        if policy.scope is not None and not caller.may(policy.scope):
            raise ScopeMissing(policy.scope)
        self._check_origin(connection, caller)
        return caller

    async def _authenticate_link(self, connection: Connection, purposes: Sequence[Purpose]) -> Caller:
        """Raises `LinkNotValid`, `ImageNotFound`, `DatabaseUnavailable`."""
        links, image = self._access.links, _image_id(connection)
        if Purpose.PICTURE in purposes:
            return await links.authenticate_picture(image, connection.scope["query_string"])
        return await links.authenticate(image, connection.query_params, purposes)

    def _check_origin(self, connection: Connection, caller: Caller) -> None:
        """Browsers add the cookie to requests from any page; only Gallery's pages and allowed origins may write by it.

        Raises `ForeignOrigin`.
        """
        if caller.kind is not CredentialKind.SESSION or connection.scope.get("method") in SAFE_METHODS:
            return
        origin = connection.headers.get("origin", "")
        if same_origin(origin, connection.headers.get("host", "")) or origin.lower() == self._public_origin:
            return
        if not may_write_from(self._allowed_origins, connection.scope, origin):
            raise ForeignOrigin(origin=origin)


def _check_upload_ticket(caller: Caller, policy: RoutePolicy) -> Caller:
    """Raises `UploadTicketNotEnough`."""
    if not policy.allow_upload_ticket:
        raise UploadTicketNotEnough(ticket=caller.ticket_id)
    return caller


def _image_id(connection: Connection) -> str:
    text = str(connection.path_params.get("image_id", ""))
    try:
        return str(UUID(text))
    except ValueError:
        raise ImageNotFound(image=text) from None


def _origin_of(url: str) -> str | None:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower() if parts.netloc else None
