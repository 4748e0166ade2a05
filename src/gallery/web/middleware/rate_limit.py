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
from gallery.adapters.valkey.rates import Limit, RateClass, Rates, Verdict
from gallery.errors import TooManyRequests, Unauthorized, Unavailable, ValkeyAway
from gallery.ops import metrics
from gallery.settings import Settings
from gallery.web.problems import answer
from gallery.web.routing import route_of

log = structlog.get_logger(__name__)

SETTINGS = {
    RateClass.REQUESTS: "GALLERY_RATE__STRANGER",
    RateClass.UPLOADS: "GALLERY_RATE__UPLOADS",
    RateClass.RENDITIONS: "GALLERY_RATE__RENDITIONS",
}
IPV6_PREFIX = 64  # what one subscriber has: an address in it costs nothing


class Callers(Protocol):
    """Tells callers apart by the credentials that their requests show."""

    def verified(self, scope: HTTPScope) -> bool:
        """Whether the request shows no credential, or one that this process has found good before."""

    async def name(self, scope: HTTPScope) -> str | None:
        """A key's or an owner's name; `None` is an anonymous caller. Raises `Unauthorized`, `Unavailable`."""


class Count(NamedTuple):
    """A request that was counted: as what, whose it is, within which limit, and what came of it."""

    rate_class: RateClass
    who: str
    limit: Limit
    verdict: Verdict

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        policy = f'"{self.rate_class}";q={self.limit.requests};w={self.limit.seconds}'
        left = f'"{self.rate_class}";r={self.verdict.remaining};t={self.verdict.reset}'
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]


def limited(settings: Settings) -> bool:
    """Whether there are limits: by default, unless all who can reach us are on this machine."""
    if settings.rate.enabled is not None:
        return settings.rate.enabled
    at_home = is_loopback(settings.host) and is_open(settings) and settings.access.open is None
    return not at_home or bool(settings.proxies)


class Limits:
    """Counts a request once, when it begins; a stream is one request."""

    def __init__(self, app: ASGIApp, rates: Rates, settings: Settings, callers: Callers) -> None:
        rate = settings.rate
        self._app = app
        self._rates = rates
        self._callers = callers
        self._factor = rate.key_factor
        self._closed = rate.when_valkey_is_away == "closed"
        self._limits = {
            RateClass.REQUESTS: Limit.read(rate.stranger),
            RateClass.UPLOADS: Limit.read(rate.uploads),
            RateClass.RENDITIONS: Limit.read(rate.renditions),
        }
        self._blind = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rate_class = route_of(scope).opt.get("rate", RateClass.REQUESTS) if scope["type"] == ScopeType.HTTP else None
        if scope["type"] != ScopeType.HTTP or rate_class is None:
            await self._app(scope, receive, send)
            return
        try:
            count = await self._count(scope, rate_class)
        except ValkeyAway as error:
            await self._without(error, scope, receive, send)
            return
        self._blind = False
        if not count.verdict.allowed:
            again = (b"retry-after", b"%d" % count.verdict.retry)
            metrics.LIMITED.add(count.rate_class)
            refused = TooManyRequests(
                kind=count.rate_class,
                who=count.who,
                requests=count.limit.requests,
                seconds=count.limit.seconds,
                setting=SETTINGS[count.rate_class],
                retry=count.verdict.retry,
            )
            await answer(scope, send, refused, [*count.headers, again])
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *count.headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    async def _count(self, scope: HTTPScope, rate_class: RateClass) -> Count:
        """A credential that this process does not know costs its address a request before it is verified, since that
        costs us a query or a signature. What proves good costs the address nothing. Raises `ValkeyAway`.
        """
        if self._callers.verified(scope):
            return await self._take(scope, rate_class, await self._name(scope))
        guess = await self._take(scope, RateClass.REQUESTS, None)
        if not guess.verdict.allowed:
            return guess
        try:
            name = await self._callers.name(scope)
        except (Unauthorized, Unavailable):  # said again by the door
            return guess
        if name is None and rate_class is RateClass.REQUESTS:
            return guess
        _, count = await asyncio.gather(
            self._rates.give_back(guess.rate_class, guess.who, guess.limit), self._take(scope, rate_class, name)
        )
        return count

    async def _name(self, scope: HTTPScope) -> str | None:
        try:
            return await self._callers.name(scope)
        except (Unauthorized, Unavailable):  # said again by the door
            return None

    async def _take(self, scope: HTTPScope, rate_class: RateClass, name: str | None) -> Count:
        limit = self._limits[rate_class] if name is None else self._limits[rate_class].times(self._factor)
        who = name or place(scope)
        return Count(rate_class, who, limit, await self._rates.take(rate_class, who, limit))

    async def _without(self, error: ValkeyAway, scope: HTTPScope, receive: Receive, send: Send) -> None:
        if self._closed:
            await answer(scope, send, error)
            return
        if not self._blind:
            log.warning("rate.unlimited", error=str(error))
        self._blind = True
        await self._app(scope, receive, send)


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
