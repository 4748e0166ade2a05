"""`HEAD` on every path that has a `GET`: the same response without its body (RFC 9110, section 9.3.2)."""

import asyncio
from typing import cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPDisconnectEvent, HTTPScope, Message, Receive, Scope, Send

from gallery.responses import HEAD_SCOPE_KEY
from gallery.web.routing import route_of


class HeadMethod:
    """Runs `HEAD` as a `GET` and drops the body. A handler sees `HEAD_SCOPE_KEY` in the scope and may make no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "HEAD":
            await self._head(scope, send)
        elif scope["type"] == ScopeType.HTTP:
            await self._app(scope, receive, _with_allow_header(scope, send))
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: HTTPScope, send: Send) -> None:
        answered = asyncio.Event()

        async def nothing_more() -> HTTPDisconnectEvent:
            """Ends a stream, which would go on for ever, by a disconnect after its head."""
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                answered.set()

        get_scope = cast("HTTPScope", {**scope, "method": "GET", HEAD_SCOPE_KEY: True})
        await self._app(get_scope, nothing_more, _with_allow_header(scope, send_head))


def _with_allow_header(scope: HTTPScope, send: Send) -> Send:
    """Fills `Allow` with all methods of the path; Litestar names those of one handler only."""
    allowed = ", ".join(route_of(scope).methods).encode()

    async def send_allowing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (name, allowed if name.lower() == b"allow" else value) for name, value in message["headers"]
            ]
        await send(message)

    return send_allowing
