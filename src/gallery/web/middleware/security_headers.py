"""Headers that keep browsers from using a response in unintended ways.

A header that the handler has set stays.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gallery.web.routing import route_of

RESOURCE_POLICY = b"cross-origin-resource-policy"
COMMON_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
CONTENT_SECURITY_POLICY = (  # pages and pictures have policies of their own
    b"content-security-policy",
    b"default-src 'none'; frame-ancestors 'none'",
)
PAGE_HEADERS = [
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
]
STRICT_TRANSPORT_SECURITY = (  # without includeSubDomains, which other servers of the domain may not support
    b"strict-transport-security",
    b"max-age=31536000",
)


class SecurityHeaders:
    """With `cross_origin` (`CORS_ORIGIN` is set) pages of other sites may embed pictures; else only the same site."""

    def __init__(self, app: ASGIApp, cross_origin: bool) -> None:
        self._app = app
        self._embeddable_policy = (RESOURCE_POLICY, b"cross-origin" if cross_origin else b"same-site")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        headers = self._headers(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = dict(message["headers"])
                page = PAGE_HEADERS if present.get(b"content-type", b"").startswith(b"text/html") else []
                message["headers"] = [*message["headers"], *(h for h in (*headers, *page) if h[0] not in present)]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _headers(self, scope: HTTPScope) -> list[tuple[bytes, bytes]]:
        resource_policy = (
            self._embeddable_policy if route_of(scope).opt.get("embeddable") else (RESOURCE_POLICY, b"same-origin")
        )
        return [
            *COMMON_HEADERS,
            resource_policy,
            CONTENT_SECURITY_POLICY,
            *([STRICT_TRANSPORT_SECURITY] if scope["scheme"] == "https" else []),
        ]
