"""The limit on requests under way: each holds a connection, and perhaps a spool and an object, for as long as its
client is slow. A stream stops counting here when it begins, since streams have limits of their own.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gallery.errors import Overloaded
from gallery.ops import metrics
from gallery.web.problems import send_problem
from gallery.web.routing import route_of

PROBE_OPT = {"probe": True}  # for a route's `opt`: exempt from the limit


class ConcurrencyLimit:
    def __init__(self, app: ASGIApp, max_requests: int) -> None:
        self._app = app
        self._max_requests = max_requests
        self._active_requests: set[object] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or route_of(scope).opt.get("probe"):
            await self._app(scope, receive, send)
            return
        if len(self._active_requests) >= self._max_requests:
            metrics.OVERLOADED.add()
            await send_problem(scope, send, Overloaded(limit=self._max_requests), [(b"connection", b"close")])
            return
        request = object()
        self._active_requests.add(request)
        scope["extensions"]["gallery.stream"] = lambda: self._active_requests.discard(request)  # type: ignore[index,assignment]  # Gallery's own
        try:
            await self._app(scope, receive, send)
        finally:
            self._active_requests.discard(request)
