"""How often somebody may ask. Strangers are counted by address, those whom we know by their name, in all processes
together.

The headers are those of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/: the policy, and what
is left of it.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gallery.access.openness import is_loopback, is_open
from gallery.adapters.rates import Limit, Rates, Verdict
from gallery.errors import TooManyRequests, ValkeyAway
from gallery.ops import metrics
from gallery.settings import Settings
from gallery.web.problems import answer

log = structlog.get_logger(__name__)

Known: TypeAlias = Callable[[HTTPScope], Awaitable[str | None]]  # a key's or an owner's name; `None` is a stranger

FREE = re.compile("/livez|/readyz|/health|/static/.*|/favicon.ico")
PICTURE = re.compile(r"/api/v1/images/[^/]+/(original|[^/]+\.[^/]+)/?")
UPLOAD = re.compile("/api/v1/images/?")
IPV6_PREFIX = 64  # what one subscriber has: an address in it costs nothing


async def nobody(_: HTTPScope) -> str | None:
    """We know nobody yet."""
    return None


def limited(settings: Settings) -> bool:
    """Whether there are limits: by default, unless all who can reach us are on this machine."""
    if settings.rate.enabled is not None:
        return settings.rate.enabled
    at_home = is_loopback(settings.host) and is_open(settings) and settings.access.open is None
    return not at_home or bool(settings.proxies)


class Limits:
    """Counts a request once, when it begins; a stream is one request."""

    def __init__(self, app: ASGIApp, rates: Rates, settings: Settings, known: Known = nobody) -> None:
        rate = settings.rate
        self._app = app
        self._rates = rates
        self._known = known
        self._factor = rate.key_factor
        self._closed = rate.when_valkey_is_away == "closed"
        self._limits = {
            "requests": Limit.read(rate.stranger),
            "uploads": Limit.read(rate.uploads),
            "pictures": Limit.read(rate.pictures),
        }
        self._blind = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or FREE.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        name = kind(scope)
        who = await self._known(scope)
        limit = self._limits[name] if who is None else self._limits[name].times(self._factor)
        try:
            verdict = await self._rates.take(name, who or place(scope), limit)
        except ValkeyAway as error:
            await self._without(error, scope, receive, send)
            return
        self._blind = False
        headers = _headers(name, limit, verdict)
        if not verdict.allowed:
            again = (b"retry-after", b"%d" % verdict.retry)
            metrics.LIMITED.add(name)
            refused = TooManyRequests(kind=name, who=who or place(scope))
            await answer(scope, send, refused, [*headers, again])
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _without(self, error: ValkeyAway, scope: HTTPScope, receive: Receive, send: Send) -> None:
        if self._closed:
            await answer(scope, send, error)
            return
        if not self._blind:
            log.warning("rate.unlimited", error=str(error))
        self._blind = True
        await self._app(scope, receive, send)


def kind(scope: HTTPScope) -> str:
    """Which of the limits holds for a request."""
    if scope["method"] in ("GET", "HEAD") and PICTURE.fullmatch(scope["path"]):
        return "pictures"
    if scope["method"] == "POST" and UPLOAD.fullmatch(scope["path"]):
        return "uploads"
    return "requests"


def place(scope: HTTPScope) -> str:
    """Where a stranger comes from: its address, or the /64 network of an IPv6 address."""
    text = scope["client"][0] if scope["client"] else ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))


def _headers(name: str, limit: Limit, verdict: Verdict) -> list[tuple[bytes, bytes]]:
    policy = f'"{name}";q={limit.requests};w={limit.seconds}'
    left = f'"{name}";r={verdict.remaining};t={verdict.reset}'
    return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]
