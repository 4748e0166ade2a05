"""The rest of a response that goes on for hours, without the memory of its request.

A handler sends the head, leaves the rest in the scope's extensions as `gallery.rest`, and returns. When the framework
and all middlewares have returned too, what they keep for a request is free, and the rest runs by itself. So a request
is logged and measured when its stream begins. See decision 0122.
"""

from typing import Any

from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

KEPT_KEYS = ("type", "http_version", "method", "path")  # of the scope: the server reads these until the end


async def run_rest(scope: Scope, receive: Receive, send: Send) -> None:
    """What the handler has left, if anything."""
    if scope["type"] != ScopeType.HTTP or "gallery.rest" not in (scope["extensions"] or {}):
        return
    rest: Any = scope["extensions"]["gallery.rest"]  # type: ignore[index]  # Gallery's own
    _strip(scope)
    await rest(receive, send)


def _strip(scope: Any) -> None:
    """Drop the request's headers, its route, and what the framework has added."""
    kept = {key: scope[key] for key in KEPT_KEYS}
    scope["headers"].clear()
    scope.clear()
    scope.update(kept, extensions={})
