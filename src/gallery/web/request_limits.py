"""Counts requests: per address for anonymous callers, per API key or owner for all others. The counts are those of all
processes together.
"""

import ipaddress
from functools import lru_cache
from typing import NamedTuple

import structlog
from litestar.types import HTTPScope, Scope

from gallery.access.open_mode import is_loopback, is_open
from gallery.adapters.valkey.portions import RatePortions
from gallery.adapters.valkey.rates import RateClass, RateDecision, RateLimit
from gallery.errors import ValkeyUnavailable
from gallery.settings import RateSettings, Settings
from gallery.web.routing import extensions

log = structlog.get_logger(__name__)

SETTING_NAMES = {
    RateClass.REQUESTS: "GALLERY_RATE__STRANGER",
    RateClass.UPLOADS: "GALLERY_RATE__UPLOADS",
    RateClass.RENDITIONS: "GALLERY_RATE__RENDITIONS",
}
IPV6_PREFIX_BITS = 64  # the network of one subscriber, in which a client changes its address at no cost
COUNTER_KEY = "gallery.counter"  # in the scope's extensions
COUNT_KEY = "gallery.count"


class Counter(NamedTuple):
    """What a request counts in. `key` is the rate limit key of the caller; without it, its address counts.

    `group` is the key of several callers, which have `key_factor` times the limit of one together.
    """

    rate_class: RateClass
    key: str | None
    group: str | None = None


class Policy(NamedTuple):
    """A limit, and its header."""

    limit: RateLimit
    header: tuple[bytes, bytes]


class CountedRequest(NamedTuple):
    """`client` is the rate limit key of the caller, or its address."""

    rate_class: RateClass
    client: str
    policy: Policy
    verdict: RateDecision

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As in https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/."""
        values = self.rate_class.encode(), self.verdict.remaining, self.verdict.reset_after
        return [self.policy.header, (b"ratelimit", b'"%b";r=%d;t=%d' % values)]


class RequestLimits:
    def __init__(self, portions: RatePortions, settings: RateSettings) -> None:
        self._portions = portions
        self._fail_closed = settings.when_valkey_is_away == "closed"
        self._unlimited = False
        self._policies = {
            (rate_class, has_key): _policy(rate_class, text, settings.key_factor if has_key else 1)
            for rate_class, text in (
                (RateClass.REQUESTS, settings.stranger),
                (RateClass.UPLOADS, settings.uploads),
                (RateClass.RENDITIONS, settings.renditions),
            )
            for has_key in (False, True)
        }
        self._group_factor = settings.key_factor

    def try_count(self, counter: Counter, address: str) -> CountedRequest | None:
        """Count a request without a round trip, if this process may allow it; else `count` has to."""
        client = counter.key or address
        verdict = self._portions.try_spend(counter.rate_class, client)
        if verdict is None:
            return None
        return CountedRequest(counter.rate_class, client, self._policy_of(counter), verdict)

    async def count(self, counter: Counter, address: str) -> CountedRequest | None:
        """Count a request; `None` while Valkey is away and no request is limited.

        Raises `ValkeyUnavailable` where requests are refused then.
        """
        client, policy = counter.key or address, self._policy_of(counter)
        try:
            verdict = await self._portions.spend(counter.rate_class, client, policy.limit)
        except ValkeyUnavailable as error:
            self._without_valkey(error)
            return None
        self._unlimited = False
        own = CountedRequest(counter.rate_class, client, policy, verdict)
        if counter.group is None or not verdict.allowed:
            return own
        together = await self._count_group(counter, counter.group)
        return own if together is None or together.verdict.allowed else together

    async def _count_group(self, counter: Counter, group: str) -> CountedRequest | None:
        limit = self._policy_of(counter).limit.times(self._group_factor)
        policy = Policy(limit, _policy_header(counter.rate_class, limit))
        try:
            verdict = await self._portions.spend(counter.rate_class, group, limit)
        except ValkeyUnavailable as error:
            self._without_valkey(error)
            return None
        return CountedRequest(counter.rate_class, group, policy, verdict)

    async def count_guess(self, address: str) -> CountedRequest | None:
        """As `count`, always in Valkey, for a request whose credential is not verified yet."""
        policy = self._policies[RateClass.REQUESTS, False]
        try:
            verdict = await self._portions.counters.take(RateClass.REQUESTS, address, policy.limit)
        except ValkeyUnavailable as error:
            self._without_valkey(error)
            return None
        self._unlimited = False
        return CountedRequest(RateClass.REQUESTS, address, policy, verdict)

    async def refund(self, guess: CountedRequest) -> None:
        """Take back an allowed guess: its credential is valid."""
        try:
            await self._portions.counters.refund(guess.rate_class, guess.client, guess.policy.limit)
        except ValkeyUnavailable as error:
            self._without_valkey(error)

    def _policy_of(self, counter: Counter) -> Policy:
        return self._policies[counter.rate_class, counter.key is not None]

    def _without_valkey(self, error: ValkeyUnavailable) -> None:
        """Returns where no request is limited without Valkey; else raises."""
        if self._fail_closed:
            raise error
        if not self._unlimited:
            log.warning("rate.unlimited", error=str(error))
        self._unlimited = True


def rate_limits_enabled(settings: Settings) -> bool:
    """By default yes, unless only clients on this machine can reach the server."""
    if settings.rate.enabled is not None:
        return settings.rate.enabled
    local_only = is_loopback(settings.host) and is_open(settings) and settings.access.open is None
    return not local_only or bool(settings.proxies)


def set_counter(scope: Scope, counter: Counter) -> None:
    extensions(scope)[COUNTER_KEY] = counter


def counter_of(scope: Scope) -> Counter | None:
    """What the request was counted in, or would have been while Valkey was away."""
    counter: Counter | None = extensions(scope).get(COUNTER_KEY)
    return counter


def set_count(scope: Scope, count: CountedRequest | None) -> None:
    """The request is counted, or not limited."""
    extensions(scope)[COUNT_KEY] = count


def client_address(scope: HTTPScope) -> str:
    """The address of the client; of an IPv6 address its /64 network."""
    return counted_address(scope["client"])


def counted_address(client: tuple[str, int] | None) -> str:
    return _counted_address(client[0]) if client else ""


@lru_cache(4096)
def _counted_address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX_BITS), strict=False))


def _policy(rate_class: RateClass, text: str, factor: int) -> Policy:
    limit = RateLimit.parse(text).times(factor)
    return Policy(limit, _policy_header(rate_class, limit))


def _policy_header(rate_class: RateClass, limit: RateLimit) -> tuple[bytes, bytes]:
    return b"ratelimit-policy", f'"{rate_class}";q={limit.requests};w={limit.seconds}'.encode()
