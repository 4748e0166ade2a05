"""The route of a request, and the other facts that the middlewares leave for each other in the request's scope."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from litestar.types import HTTPScope, Scope

ROUTE_KEY = "gallery.route"  # in the scope's extensions, which a copy of the scope shares
DISCONNECTED_KEY = "gallery.gone"
LOGGED_CALLER_KEY = "gallery.logged_caller"
PUBLIC_URL_KEY = "gallery.public_url"
QUIET = {"quiet": True}  # for `opt`: requested every few seconds, so that a success is logged at the level debug


class Route(NamedTuple):
    """The path's template, the handler's `opt`, and the methods of the path."""

    template: str
    opt: Mapping[str, Any]
    methods: Sequence[str] = ()


NO_ROUTE = Route("none", {})  # of a request that no route matches


def public_url_of(scope: HTTPScope) -> str:
    """`GALLERY_PUBLIC_URL`, the prefix of Gallery's own paths in a response; may be empty."""
    url: str = extensions(scope).get(PUBLIC_URL_KEY, "")
    return url


def route_of(scope: HTTPScope) -> Route:
    route: Route = extensions(scope).get(ROUTE_KEY, NO_ROUTE)
    return route


def set_client_disconnected(scope: HTTPScope) -> None:
    extensions(scope)[DISCONNECTED_KEY] = {}


def client_disconnected(scope: HTTPScope) -> bool:
    """Whether the client has closed its connection before its request was answered."""
    return DISCONNECTED_KEY in extensions(scope)


def set_logged_caller(scope: Scope, caller: str) -> None:
    extensions(scope)[LOGGED_CALLER_KEY] = caller


def logged_caller(scope: HTTPScope) -> str | None:
    """The caller as a log line names it: `key:` or `ticket:`, and the id; `None` for all others."""
    caller: str | None = extensions(scope).get(LOGGED_CALLER_KEY)
    return caller


def extensions(scope: Scope) -> dict[str, Any]:
    if scope.get("extensions") is None:
        scope["extensions"] = {}
    found: dict[str, Any] = scope["extensions"]  # type: ignore[assignment]  # keys of Gallery beside the server's
    return found
