"""How often somebody has come, kept in Valkey: one script, one key, one round trip, the server's clock.

The algorithm is GCRA (the "leaky bucket as a meter" of ITU-T I.371): a key holds the one moment at which its owner will
have nothing on the slate any more. Each request adds `period / limit` to it, and is refused if the slate would then be
longer than `limit` requests. So a burst of `limit` is let through, exactly, by however many processes ask; after it
one request for each `period / limit` that passes.
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
    local slate = clear + step - now
    if slate > step * limit then
        return {0, 0, clear - now, slate - step * limit}
    end
    redis.call('SET', KEYS[1], string.format('%.0f', now + slate), 'PX', math.ceil(slate / 1000))
    return {1, math.floor((step * limit - slate) / step), slate, 0}
"""

REFUND = """
    local step = math.floor(tonumber(ARGV[2]) * 1000000 / tonumber(ARGV[1]))
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    local slate = tonumber(redis.call('GET', KEYS[1]) or 0) - step - now
    if slate > 0 then
        redis.call('SET', KEYS[1], string.format('%.0f', now + slate), 'PX', math.ceil(slate / 1000))
    else
        redis.call('DEL', KEYS[1])
    end
    return {}
"""


class RateClass(StrEnum):
    """What a request counts as. Each class has a limit of its own, and a request counts in one of them."""

    REQUESTS = "requests"
    UPLOADS = "uploads"
    RENDITIONS = "renditions"


def _route_options(rate_class: RateClass | None) -> dict[str, Any]:
    return {"rate": rate_class}


UPLOADS = _route_options(RateClass.UPLOADS)  # for a route's `opt`; one that says nothing counts as a request
RENDITIONS = _route_options(RateClass.RENDITIONS)
UNLIMITED = _route_options(None)


class RateLimit(Struct, frozen=True):
    """So many requests in so many seconds."""

    requests: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """From a setting's "N per S" or "N per S s"."""
        requests, _, seconds = text.split()[:3]
        return cls(int(requests), int(seconds))

    def times(self, factor: int) -> "RateLimit":
        return RateLimit(self.requests * factor, self.seconds)


class RateDecision(Struct, frozen=True):
    """Whether a request is let through; how many more would be; seconds until all would be, and until the next."""

    allowed: bool
    remaining: int
    reset_after: int
    retry_after: int


class RateCounters:
    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    async def take(self, rate_class: RateClass, client: str, limit: RateLimit) -> RateDecision:
        """Count one request of that class by `who`. Raises `ValkeyUnavailable`."""
        allowed, remaining, reset, retry = await self._run(GCRA, rate_class, client, limit)
        return RateDecision(bool(allowed), remaining, _seconds(reset), _seconds(retry))

    async def refund(self, rate_class: RateClass, client: str, limit: RateLimit) -> None:
        """Forget one request that was counted and let through. Raises `ValkeyUnavailable`."""
        await self._run(REFUND, rate_class, client, limit)

    async def _run(self, script: str, rate_class: RateClass, client: str, limit: RateLimit) -> list[int]:
        """By the script's hash, which a server does not know before its first time, nor after a restart or failover."""
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
