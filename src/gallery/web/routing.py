"""The route of a request, and the other facts that the middlewares leave for each other in the request's scope."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from litestar.types import HTTPScope

ROUTE_KEY = "gallery.route"  # in the scope's extensions, which a copy of the scope shares
DISCONNECTED_KEY = "gallery.gone"
PUBLIC_URL_KEY = "gallery.public_url"
QUIET = {"quiet": True}  # for `opt`: asked every few seconds, so that it is not logged while all is well


class Route(NamedTuple):
    """The template, which many paths have, what the handler says of itself, and the methods that the path has."""

    template: str
    opt: Mapping[str, Any]
    methods: Sequence[str] = ()


NO_ROUTE = Route("none", {})  # of a request for what there is not


def public_url_of(scope: HTTPScope) -> str:
    """What to put before our own paths in this request's answer."""
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


def extensions(scope: HTTPScope) -> dict[str, Any]:
    if scope.get("extensions") is None:
        scope["extensions"] = {}
    found: dict[str, Any] = scope["extensions"]  # type: ignore[assignment]  # ours, beside the server's
    return found
