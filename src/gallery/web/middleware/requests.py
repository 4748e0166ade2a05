"""For each request an id that is echoed and logged, a span, and at its end one measurement and one log line."""

import logging
import re
import secrets
import time
from typing import Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gallery.ops import metrics, request_log, tracing
from gallery.ops.request_log import RequestFacts
from gallery.web.routing import Route, client_disconnected, logged_caller, route_of, set_client_disconnected

REQUEST_ID = re.compile(rb"[\w.:@/+=-]{1,128}")
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
TRACE_HEADERS = ("traceparent", "tracestate")


class RequestContext:
    """Runs inside `Routing` and `ProxyHeaders`, whose results it records, and around all other middlewares."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = request_id_from(next((value for name, value in scope["headers"] if name == b"x-request-id"), None))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id.decode())
        record = RequestRecord(scope, request_id.decode())

        async def receive_and_note() -> Any:  # a message, whose type Litestar does not export
            message = await receive()
            if message["type"] == "http.disconnect" and not record.has_started:
                set_client_disconnected(scope)
            return message

        async def send_with_id(message: Message) -> None:
            if client_disconnected(scope):
                return
            if message["type"] == "http.response.start":
                record.start(message["status"], message["headers"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        with tracing.span(record.method, "SERVER", trace_headers(scope)) as span:
            try:
                await self._app(scope, receive_and_note, send_with_id)
            finally:
                record.finish(span)


class RequestRecord:
    """The facts of a request for its metrics, span and log line."""

    def __init__(self, scope: HTTPScope, request_id: str) -> None:
        self._scope = scope
        self._request_id = request_id
        self._route = route_of(scope)
        self._started_at = time.perf_counter()
        self._measured_until = 0.0
        self._status = 0
        self.method = scope["method"] if scope["method"] in KNOWN_METHODS else "OTHER"

    @property
    def has_started(self) -> bool:
        return bool(self._status)

    def start(self, status: int, headers: Any) -> None:
        self._status = status
        if dict(headers).get(b"content-type", b"").startswith(b"text/event-stream"):
            self._measured_until = time.perf_counter()  # the duration of a stream depends on its client

    def finish(self, span: tracing.Span) -> None:
        now = time.perf_counter()
        if tracing.is_enabled():
            span.update_name(f"{self.method} {self._route.template}")
            span.set_attribute("http.request.method", self.method)
            span.set_attribute("http.route", self._route.template)
            span.set_attribute("url.path", self._scope["path"])  # without its query, where tickets and signatures are
            if self.has_started:
                span.set_attribute("http.response.status_code", self._status)
            if self._status >= 500:
                tracing.mark_failed(span, str(self._status))
        facts = RequestFacts(
            request_id=self._request_id,
            method=self._scope["method"],
            path=self._scope["path"],
            status=self._status or None,
            milliseconds=round((now - self._started_at) * 1000, 1),
            caller=logged_caller(self._scope),
        )
        measure_and_log(self._route, facts, (self._measured_until or now) - self._started_at)


def measure_and_log(route: Route, request: RequestFacts, seconds: float) -> None:
    """Record a request that has ended, and how long its answer took."""
    kind = f"{request.status // 100}xx" if request.status else "gone"
    method = request.method if request.method in KNOWN_METHODS else "OTHER"
    metrics.REQUESTS.observe(seconds, method, route.template, kind)
    is_quiet = route.opt.get("quiet") and (request.status or 0) < 400
    request_log.write(logging.DEBUG if is_quiet else logging.INFO, request)


def trace_headers(scope: HTTPScope) -> dict[str, str]:
    """The headers of the client's trace: https://www.w3.org/TR/trace-context/."""
    if not tracing.is_enabled():
        return {}
    return {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name.decode("latin-1") in TRACE_HEADERS
    }


def request_id_from(given: bytes | None) -> bytes:
    """The id that the client has given, or a new one."""
    return given if given is not None and REQUEST_ID.fullmatch(given) else secrets.token_hex(8).encode()
