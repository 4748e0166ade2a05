"""Counts of each client's requests, kept in Valkey: one script, one key, one round trip, the server's clock.

The algorithm is GCRA (the "leaky bucket as a meter" of ITU-T I.371): a key holds the moment at which its client's debt
is paid off. Each request adds `period / limit` to the debt, and is refused if the debt would then exceed `limit`
requests. So a burst of exactly `limit` is allowed, over any number of processes; after it one request for each
`period / limit` that passes.
"""

import hashlib
import math
from enum import StrEnum
from typing import Any

from msgspec import Struct
from redis.exceptions import NoScriptError

from gallery.adapters.valkey.client import Client, Valkey

GCRA = """
    local limit, period = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    local step = math.floor(period / limit)
    local clear = math.max(now, tonumber(redis.call('GET', KEYS[1]) or 0))
    local debt = clear + step - now
    if debt > step * limit then
        return {0, 0, clear - now, debt - step * limit}
    end
    redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
    return {1, math.floor((step * limit - debt) / step), debt, 0}
"""

REFUND = """
    local step = math.floor(tonumber(ARGV[2]) * 1000000 / tonumber(ARGV[1]))
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    local debt = tonumber(redis.call('GET', KEYS[1]) or 0) - step - now
    if debt > 0 then
        redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
    else
        redis.call('DEL', KEYS[1])
    end
    return {}
"""


class RateClass(StrEnum):
    """The class that a request counts in. Each class has its own limit."""

    REQUESTS = "requests"
    UPLOADS = "uploads"
    RENDITIONS = "renditions"


def _route_options(rate_class: RateClass | None) -> dict[str, Any]:
    return {"rate": rate_class}


UPLOADS = _route_options(RateClass.UPLOADS)  # for a route's `opt`; a route without it counts as `REQUESTS`
RENDITIONS = _route_options(RateClass.RENDITIONS)
UNLIMITED = _route_options(None)


class RateLimit(Struct, frozen=True):
    """A number of requests in a number of seconds."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """Parse a setting's "N per S" or "N per S s"."""
        requests, _, seconds = text.split()[:3]
        return cls(int(requests), int(seconds))

    def times(self, factor: int) -> "RateLimit":
        return RateLimit(self.requests * factor, self.seconds)


class RateDecision(Struct, frozen=True):
    """Whether a request is allowed; how many more would be; seconds until all would be, and until the next."""

    allowed: bool
    remaining: int
    reset_after: int
    retry_after: int


class RateCounters:
    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    async def take(self, rate_class: RateClass, client: str, limit: RateLimit) -> RateDecision:
        """Count one request of `client` in that class. Raises `ValkeyUnavailable`."""
        allowed, remaining, reset, retry = await self._run(GCRA, rate_class, client, limit)
        return RateDecision(bool(allowed), remaining, _seconds(reset), _seconds(retry))

    async def refund(self, rate_class: RateClass, client: str, limit: RateLimit) -> None:
        """Take back one request that was counted and allowed. Raises `ValkeyUnavailable`."""
        await self._run(REFUND, rate_class, client, limit)

    async def _run(self, script: str, rate_class: RateClass, client: str, limit: RateLimit) -> list[int]:
        """By the script's hash, which a server does not have before the first use, nor after a restart or failover."""
        arguments = (1, f"{self._valkey.prefix}:rate:{rate_class}:{{{client}}}", limit.requests, limit.seconds)

        async def run(server: Client) -> list[int]:
            try:
                return list(await server.evalsha(SCRIPT_SHA1[script], *arguments))
            except NoScriptError:
                return list(await server.eval(script, *arguments))

        return await self._valkey.call(run)


SCRIPT_SHA1 = {script: hashlib.sha1(script.encode()).hexdigest() for script in (GCRA, REFUND)}  # noqa: S324  as Valkey does


def _seconds(microseconds: int) -> int:
    return math.ceil(microseconds / 1_000_000)
