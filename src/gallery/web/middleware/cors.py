"""Which other sites' pages may use the API (https://fetch.spec.whatwg.org/#http-cors-protocol).

Origins that `CORS_ORIGIN` names are echoed, and may bring a visitor's cookie. `*` lets every page in, but never with a
cookie: such answers are not for it, and such writes are refused.
"""

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    b"Accept, Authorization, Content-Type, Idempotency-Key, If-Match, If-Modified-Since, If-None-Match, If-Range, "
    b"Last-Event-ID, Prefer, Range, Traceparent, Tracestate, X-API-Key, X-Request-Id"
)
EXPOSED_HEADERS = (
    b"Accept-Ranges, Content-Disposition, Content-Range, ETag, Idempotency-Replayed, Last-Modified, Link, Location, "
    b"RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
)
MAX_AGE_SECONDS = b"7200"  # seconds for which a browser need not ask again; Chromium's longest
VARY_ORIGIN = (b"vary", b"Origin")
MAX_LOGGED_ORIGINS = 100  # origins that a process logs, each once: anybody can make them up


class Cors:
    """Answers preflights, and tells browsers of every other answer who may read it, errors included."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed
        self._default_headers = [VARY_ORIGIN] if allowed and "*" not in allowed else []  # a cache must not mix them up
        self._logged_origins: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_headers = dict(scope["headers"])
        origin = request_headers.get(b"origin", b"")
        allowed = is_allowed_origin(self._allowed, origin.decode("latin-1"))
        if not allowed:
            self._log_not_allowed(scope, origin.decode("latin-1"), request_headers.get(b"host", b"").decode("latin-1"))
        if allowed and scope["method"] == "OPTIONS" and b"access-control-request-method" in request_headers:
            await send({"type": "http.response.start", "status": 204, "headers": self._preflight(origin)})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        headers = (
            [*self._allow_origin_headers(origin), (b"access-control-expose-headers", EXPOSED_HEADERS)]
            if allowed
            else self._default_headers
        )

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _log_not_allowed(self, scope: HTTPScope, origin: str, host: str) -> None:
        """A browser hides the answer from that page, and its developer looks for the reason."""
        if (
            not origin
            or same_origin(origin, host.lower())
            or origin in self._logged_origins
            or len(self._logged_origins) >= MAX_LOGGED_ORIGINS
        ):
            return
        self._logged_origins.add(origin)
        log.info("cors.not_allowed", origin=origin, method=scope["method"], setting="CORS_ORIGIN")

    def _allow_origin_headers(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        if "*" in self._allowed:
            return [(b"access-control-allow-origin", b"*")]
        trusted = (b"access-control-allow-credentials", b"true")
        return [(b"access-control-allow-origin", origin), trusted, *self._default_headers]

    def _preflight(self, origin: bytes) -> list[tuple[bytes, bytes]]:
        return [
            *self._allow_origin_headers(origin),
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", MAX_AGE_SECONDS),
            (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        ]


def same_origin(origin: str, host: str) -> bool:
    """Whether a page from `origin` is one of ours, as the request's `Host` names us."""
    return origin.lower() in (f"http://{host}", f"https://{host}")


def is_allowed_origin(allowed: frozenset[str], origin: str) -> bool:
    """Whether a page of that origin may use the API; there is none in a request that no page has made."""
    return bool(origin) and ("*" in allowed or origin.lower() in allowed)


def may_write_from(allowed: frozenset[str], scope: Scope, origin: str) -> bool:
    """The same for a write: who is welcome only as one of all may not bring a visitor's cookie."""
    if "*" in allowed and any(name == b"cookie" for name, _ in scope["headers"]):
        return False
    return is_allowed_origin(allowed, origin)
