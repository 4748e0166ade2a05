"""Limits on the number of requests: per address for anonymous callers, per API key or owner for all others. The counts
are those of all processes together.

Each response carries the headers of https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/: the policy,
and the requests that are left.
"""

import asyncio
import contextlib
import ipaddress
from typing import NamedTuple

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gallery.access.open_mode import is_loopback, is_open
from gallery.access.service import Access
from gallery.adapters.valkey.rates import RateClass, RateCounters, RateDecision, RateLimit
from gallery.errors import TooManyRequests, Unauthorized, Unavailable, ValkeyUnavailable
from gallery.ops import metrics
from gallery.settings import Settings
from gallery.web.authentication import authenticated_caller, credentials_of
from gallery.web.problems import send_problem
from gallery.web.routing import route_of

log = structlog.get_logger(__name__)

SETTING_NAMES = {
    RateClass.REQUESTS: "GALLERY_RATE__STRANGER",
    RateClass.UPLOADS: "GALLERY_RATE__UPLOADS",
    RateClass.RENDITIONS: "GALLERY_RATE__RENDITIONS",
}
IPV6_PREFIX_BITS = 64  # the network of one subscriber, in which a client changes its address at no cost


class CountedRequest(NamedTuple):
    """`key` is the rate limit key of the caller, or the client's address."""

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
    """By default yes, unless only clients on this machine can reach the server."""
    if settings.rate.enabled is not None:
        return settings.rate.enabled
    local_only = is_loopback(settings.host) and is_open(settings) and settings.access.open is None
    return not local_only or bool(settings.proxies)


class RateLimiter:
    """Counts each request once, when it begins; a stream is one request. It authenticates the caller first, and the
    auth guard reuses the result: `authenticated_caller`.
    """

    def __init__(self, app: ASGIApp, rates: RateCounters, settings: Settings, access: Access) -> None:
        rate = settings.rate
        self._app = app
        self._rates = rates
        self._access = access
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
        """A credential that this process has not verified before first costs its address a request, since verifying it
        costs a query or a signature. If it is valid, the address gets that request back. Raises `ValkeyUnavailable`.
        """
        key: str | None = None
        if self._access.is_verified(credentials_of(scope)):
            with contextlib.suppress(Unauthorized, Unavailable):  # raised again by the auth guard
                key = (await authenticated_caller(self._access, scope)).rate_limit_key
            return await self._take(scope, rate_class, key)
        by_address = await self._take(scope, RateClass.REQUESTS, None)
        if not by_address.verdict.allowed:
            return by_address
        try:
            key = (await authenticated_caller(self._access, scope)).rate_limit_key
        except (Unauthorized, Unavailable):  # raised again by the auth guard
            return by_address
        if key is None and rate_class is RateClass.REQUESTS:
            return by_address
        _, count = await asyncio.gather(
            self._rates.refund(by_address.rate_class, by_address.key, by_address.limit),
            self._take(scope, rate_class, key),
        )
        return count

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
    """The address of the client; of an IPv6 address its /64 network."""
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
