"""The route of a request, found once and before anything else reads its path.

A path has many spellings: `//api/v1/images/`, `/api/v1/images`. First the path is normalized as Litestar's router
expects it, and that router finds the route. Limits, headers, logs and metrics depend on the route and its `opt` only,
never on the path.
"""

from collections.abc import Sequence

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp, HTTPScope, Method, Receive, Scope, Send
from litestar.utils import normalize_path

from gallery.web.routing import NO_ROUTE, PUBLIC_URL_KEY, ROUTE_KEY, Route, extensions

ROUTED_METHODS: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Routing:
    """The outermost middleware: puts the route into the scope's extensions for all others (`web/routing.py`)."""

    def __init__(self, app: ASGIApp, litestar: Litestar, public_url: str) -> None:
        self._app = app
        self._public_url = public_url
        self._router = litestar.asgi_router
        self._methods = {route.path_format: _methods(route) for route in litestar.routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            scope["path"] = normalize_path(scope["path"])
            extensions(scope).update({ROUTE_KEY: self._find_route(scope), PUBLIC_URL_KEY: self._public_url})
        await self._app(scope, receive, send)

    def _find_route(self, scope: HTTPScope) -> Route:
        """`OPTIONS` has the route of the path's first method."""
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method != "OPTIONS" and (route := self._match(scope["path"], method)):
            return route
        first_route = next(filter(None, (self._match(scope["path"], other) for other in ROUTED_METHODS)), NO_ROUTE)
        return first_route if method == "OPTIONS" else NO_ROUTE._replace(methods=first_route.methods)

    def _match(self, path: str, method: Method) -> Route | None:
        try:
            _, handler, _, _, template = self._router.handle_routing(path=path, method=method)
        except HTTPException:
            return None
        return Route(template, handler.opt, self._methods.get(template, ()))


def _methods(route: BaseRoute) -> Sequence[str]:
    """The methods of a path, `HEAD` and `OPTIONS` included."""
    methods = set(route.methods) if isinstance(route, HTTPRoute) else set()
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))
