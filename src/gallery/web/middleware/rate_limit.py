"""How often somebody may ask. Strangers are counted by address, those whom we know by their name, in all processes
together.

The headers are those of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/: the policy, and what
is left of it.
"""

import asyncio
import ipaddress
from typing import NamedTuple, Protocol

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gallery.access.open_mode import is_loopback, is_open
from gallery.adapters.valkey.rates import RateClass, RateCounters, RateDecision, RateLimit
from gallery.errors import TooManyRequests, Unauthorized, Unavailable, ValkeyUnavailable
from gallery.ops import metrics
from gallery.settings import Settings
from gallery.web.problems import send_problem
from gallery.web.routing import route_of

log = structlog.get_logger(__name__)

SETTING_NAMES = {
    RateClass.REQUESTS: "GALLERY_RATE__STRANGER",
    RateClass.UPLOADS: "GALLERY_RATE__UPLOADS",
    RateClass.RENDITIONS: "GALLERY_RATE__RENDITIONS",
}
IPV6_PREFIX_BITS = 64  # what one subscriber has: an address in it costs nothing


class RateLimitKeys(Protocol):
    """Tells callers apart by the credentials that their requests show."""

    def is_verified(self, scope: HTTPScope) -> bool:
        """Whether the request shows no credential, or one that this process has found good before."""

    async def find_key(self, scope: HTTPScope) -> str | None:
        """A key's or an owner's name; `None` is an anonymous caller. Raises `Unauthorized`, `Unavailable`."""


class CountedRequest(NamedTuple):
    """A request that was counted: as what, whose it is, within which limit, and what came of it."""

    rate_class: RateClass
    key: str
    limit: RateLimit
    verdict: RateDecision

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        policy = f'"{self.rate_class}";q={self.limit.requests};w={self.limit.seconds}'
        left = f'"{self.rate_class}";r={self.verdict.remaining};t={self.verdict.reset_after}'
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


def rate_limits_enabled(settings: Settings) -> bool:
    """Whether there are limits: by default, unless all who can reach us are on this machine."""
    if settings.rate.enabled is not None:
        return settings.rate.enabled
    local_only = is_loopback(settings.host) and is_open(settings) and settings.access.open is None
    return not local_only or bool(settings.proxies)


class RateLimiter:
    """Counts a request once, when it begins; a stream is one request."""

    def __init__(self, app: ASGIApp, rates: RateCounters, settings: Settings, keys: RateLimitKeys) -> None:
        rate = settings.rate
        self._app = app
        self._rates = rates
        self._keys = keys
        self._key_factor = rate.key_factor
        self._fail_closed = rate.when_valkey_is_away == "closed"
        self._limits = {
            RateClass.REQUESTS: RateLimit.parse(rate.stranger),
            RateClass.UPLOADS: RateLimit.parse(rate.uploads),
            RateClass.RENDITIONS: RateLimit.parse(rate.renditions),
        }
        self._valkey_unavailable = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rate_class = route_of(scope).opt.get("rate", RateClass.REQUESTS) if scope["type"] == ScopeType.HTTP else None
        if scope["type"] != ScopeType.HTTP or rate_class is None:
            await self._app(scope, receive, send)
            return
        try:
            count = await self._check(scope, rate_class)
        except ValkeyUnavailable as error:
            await self._without_valkey(error, scope, receive, send)
            return
        self._valkey_unavailable = False
        if not count.verdict.allowed:
            retry_after = (b"retry-after", b"%d" % count.verdict.retry_after)
            metrics.RATE_LIMITED.add(count.rate_class)
            refused = TooManyRequests(
                kind=count.rate_class,
                who=count.key,
                requests=count.limit.requests,
                seconds=count.limit.seconds,
                setting=SETTING_NAMES[count.rate_class],
                retry=count.verdict.retry_after,
            )
            await send_problem(scope, send, refused, [*count.headers, retry_after])
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *count.headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _check(self, scope: HTTPScope, rate_class: RateClass) -> CountedRequest:
        """A credential that this process does not know costs its address a request before it is verified, since that
        costs us a query or a signature. What proves good costs the address nothing. Raises `ValkeyUnavailable`.
        """
        if self._keys.is_verified(scope):
            return await self._take(scope, rate_class, await self._find_key(scope))
        by_address = await self._take(scope, RateClass.REQUESTS, None)
        if not by_address.verdict.allowed:
            return by_address
        try:
            key = await self._keys.find_key(scope)
        except (Unauthorized, Unavailable):  # said again by the door
            return by_address
        if key is None and rate_class is RateClass.REQUESTS:
            return by_address
        _, count = await asyncio.gather(
            self._rates.refund(by_address.rate_class, by_address.key, by_address.limit),
            self._take(scope, rate_class, key),
        )
        return count

    async def _find_key(self, scope: HTTPScope) -> str | None:
        try:
            return await self._keys.find_key(scope)
        except (Unauthorized, Unavailable):  # said again by the door
            return None

    async def _take(self, scope: HTTPScope, rate_class: RateClass, key: str | None) -> CountedRequest:
        limit = self._limits[rate_class] if key is None else self._limits[rate_class].times(self._key_factor)
        key_or_address = key or client_address(scope)
        return CountedRequest(
            rate_class, key_or_address, limit, await self._rates.take(rate_class, key_or_address, limit)
        )

    async def _without_valkey(self, error: ValkeyUnavailable, scope: HTTPScope, receive: Receive, send: Send) -> None:
        if self._fail_closed:
            await send_problem(scope, send, error)
            return
        if not self._valkey_unavailable:
            log.warning("rate.unlimited", error=str(error))
        self._valkey_unavailable = True
        await self._app(scope, receive, send)


def client_address(scope: HTTPScope) -> str:
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
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX_BITS), strict=False))
