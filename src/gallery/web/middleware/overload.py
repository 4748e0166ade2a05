"""So many requests at once and no more: each holds a connection, and perhaps a spool and an object, for as long as its
client takes its time. A stream stops counting here when it begins, as streams have limits of their own.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gallery.errors import Overloaded
from gallery.ops import metrics
from gallery.web.problems import answer
from gallery.web.routing import route_of

PROBE = {"probe": True}  # for a route's `opt`: answered at once, whatever else is going on


class Overload:
    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._under_way: set[object] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or route_of(scope).opt.get("probe"):
            await self._app(scope, receive, send)
            return
        if len(self._under_way) >= self._most:
            metrics.OVERLOADED.add()
            await answer(scope, send, Overloaded(limit=self._most), [(b"connection", b"close")])
            return
        request = object()
        self._under_way.add(request)
        scope["extensions"]["gallery.stream"] = lambda: self._under_way.discard(request)  # type: ignore[index,assignment]  # ours
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way.discard(request)
