"""Access for pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol).

Origins that `CORS_ORIGIN` names are echoed, and may send a visitor's cookie. `*` allows every page, but never with a
cookie: browsers keep such responses from the page, and such writes are refused.
"""

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
ALLOWED_HEADERS = (
    b"Accept, Authorization, Content-Digest, Content-Disposition, Content-Type, Idempotency-Key, If-Match, "
    b"If-Modified-Since, If-None-Match, If-Range, Last-Event-ID, Prefer, Range, Repr-Digest, Traceparent, Tracestate, "
    b"Tus-Resumable, Upload-Checksum, Upload-Complete, Upload-Defer-Length, Upload-Draft-Interop-Version, "
    b"Upload-Length, Upload-Metadata, Upload-Offset, X-API-Key, X-HTTP-Method-Override, X-Request-Id"
)
EXPOSED_HEADERS = (
    b"Accept-Patch, Accept-Post, Accept-Ranges, Content-Disposition, Content-Location, Content-Range, ETag, "
    b"Gallery-Duplicate, Gallery-Image, Idempotency-Replayed, Last-Modified, Link, Location, RateLimit, "
    b"RateLimit-Policy, Retry-After, "
    b"Tus-Checksum-Algorithm, Tus-Extension, Tus-Max-Size, Tus-Resumable, Tus-Version, Upload-Complete, "
    b"Upload-Defer-Length, Upload-Draft-Interop-Version, Upload-Expires, Upload-Length, Upload-Limit, Upload-Metadata, "
    b"Upload-Offset, X-Request-Id"
)
MAX_AGE_SECONDS = b"7200"  # for which a browser keeps a preflight; the maximum of Chromium
VARY_ORIGIN = (b"vary", b"Origin")
MAX_LOGGED_ORIGINS = 100  # per process, each logged once: clients can invent any number of them


class Cors:
    """Answers preflights, and adds the CORS headers to all other responses, errors included."""

    def __init__(self, app: ASGIApp, allowed: frozenset[str]) -> None:
        self._app = app
        self._allowed = allowed
        self._default_headers = [VARY_ORIGIN] if allowed and "*" not in allowed else []  # for caches
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
                own = message["headers"]
                if allowed:  # a response that any origin may read has this header already, and it must not come twice
                    own = [header for header in own if header[0].lower() != b"access-control-allow-origin"]
                message["headers"] = [*own, *headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _log_not_allowed(self, scope: HTTPScope, origin: str, host: str) -> None:
        """Log why a browser keeps the response from the page: its developer gets no reason there."""
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
    """Whether a page from `origin` is one of Gallery's own, by the request's `Host`."""
    return origin.lower() in (f"http://{host}", f"https://{host}")


def is_allowed_origin(allowed: frozenset[str], origin: str) -> bool:
    """Whether a page of this origin may use the API; false for a request without an origin."""
    return bool(origin) and ("*" in allowed or origin.lower() in allowed)


def may_write_from(allowed: frozenset[str], scope: Scope, origin: str) -> bool:
    """The same for a write: with `CORS_ORIGIN=*`, a cross-origin write that carries a cookie is refused."""
    if "*" in allowed and any(name == b"cookie" for name, _ in scope["headers"]):
        return False
    return is_allowed_origin(allowed, origin)
