"""Which other sites' pages may use the API (https://fetch.spec.whatwg.org/#http-cors-protocol).

Origins that `CORS_ORIGIN` names are echoed, and may bring a visitor's cookie. `*` lets every page in, but never with a
cookie: such answers are not for it, and such writes are refused.
"""

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
TAKEN = (
    b"Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, If-Range, "
    b"Last-Event-ID, Prefer, Range, Traceparent, Tracestate, X-API-Key, X-Request-Id"
)
SHOWN = (
    b"Accept-Ranges, Content-Disposition, Content-Range, ETag, Idempotency-Replayed, Last-Modified, Link, Location, "
    b"RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
)
REMEMBER = b"7200"  # seconds for which a browser need not ask again; Chromium's longest
ORIGIN = (b"vary", b"Origin")
MAX_TOLD = 100  # origins that a process logs, each once: anybody can make them up


class Cors:
    """Answers preflights, and tells browsers of every other answer who may read it, errors included."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed
        self._always = [ORIGIN] if allowed and "*" not in allowed else []  # a cache must not mix them up
        self._told: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"])
        origin = given.get(b"origin", b"")
        welcome = welcomes(self._allowed, origin.decode("latin-1"))
        if not welcome:
            self._tell(scope, origin.decode("latin-1"), given.get(b"host", b"").decode("latin-1"))
        if welcome and scope["method"] == "OPTIONS" and b"access-control-request-method" in given:
            await send({"type": "http.response.start", "status": 204, "headers": self._preflight(origin)})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        headers = [*self._who(origin), (b"access-control-expose-headers", SHOWN)] if welcome else self._always

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _tell(self, scope: HTTPScope, origin: str, host: str) -> None:
        """A browser hides the answer from that page, and its developer looks for the reason."""
        if not origin or same_origin(origin, host.lower()) or origin in self._told or len(self._told) >= MAX_TOLD:
            return
        self._told.add(origin)
        log.info("cors.not_allowed", origin=origin, method=scope["method"], setting="CORS_ORIGIN")

    def _who(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        if "*" in self._allowed:
            return [(b"access-control-allow-origin", b"*")]
        trusted = (b"access-control-allow-credentials", b"true")
        return [(b"access-control-allow-origin", origin), trusted, *self._always]

    def _preflight(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        return [
            *self._who(origin),
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", TAKEN),
            (b"access-control-max-age", REMEMBER),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]


def same_origin(origin: str, host: str) -> bool:
    """Whether a page from `origin` is one of ours, as the request's `Host` names us."""
    return origin.lower() in (f"http://{host}", f"https://{host}")


def welcomes(allowed: frozenset[str], origin: str) -> bool:
    """Whether a page of that origin may use the API; there is none in a request that no page has made."""
    return bool(origin) and ("*" in allowed or origin.lower() in allowed)


def may_write(allowed: frozenset[str], scope: Scope, origin: str) -> bool:
    """The same for a write: who is welcome only as one of all may not bring a visitor's cookie."""
    if "*" in allowed and any(name == b"cookie" for name, _ in scope["headers"]):
        return False
    return welcomes(allowed, origin)
