"""Around every request: an id that is echoed and logged, and one log line when it is over."""

import re
import secrets
import time

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

REQUEST_ID = re.compile(rb"[\w.:@/+=-]{1,128}")
CALM = ("/livez", "/readyz", "/health")  # asked every few seconds; no news


class Requests:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id.decode())
        began, answer = time.perf_counter(), {"status": 0}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            _log(scope, answer["status"], time.perf_counter() - began)


def _log(scope: HTTPScope, status: int, seconds: float) -> None:
    write = log.debug if scope["path"] in CALM and status < 400 else log.info
    write(
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status or None,  # nothing was answered: the client has gone
        ms=round(seconds * 1000, 1),
    )


def _request_id(scope: Scope) -> bytes:
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()
