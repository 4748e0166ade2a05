"""Counts of each client's requests, kept in Valkey: one script, one key, one round trip, the server's clock.

The algorithm is GCRA (the "leaky bucket as a meter" of ITU-T I.371): a key holds the moment at which its client's debt
is paid off. Each request adds `period / limit` to the debt, and is refused if the debt would then exceed `limit`
requests. So a burst of exactly `limit` is allowed, over any number of processes; after it one request for each
`period / limit` that passes.

A process may lease a portion of the requests that are left, and allow them without asking. A leased request counts as
debt that is not paid off with time. When the portion is returned, its spent requests are added to the debt as of then;
of a portion that is not returned, all of them, as of its end. Both are later than the requests themselves, so that
never more of them are allowed than without portions. See decision 0111.
"""

import hashlib
import math
from enum import StrEnum
from functools import lru_cache
from typing import Any

from msgspec import Struct
from redis.exceptions import NoScriptError

from gallery.adapters.valkey.client import Client, Valkey

PORTION_SHARE = 8  # a portion is at most this part of the requests that are left
PORTION_SECONDS = 1.0  # for how long a process may spend a portion
RETURN_SECONDS = 1.0  # for the return of a portion after that

# The key is a hash: under "clear" the moment at which the debt is paid off, under the id of each portion its size and
# its end. ARGV: limit, period in s, requests to count (0 or 1), id and wanted size of a portion (0: none), its life in
# ms, id of a returned portion ("": none) and its spent requests.
# Returns: allowed; requests that are left, with the new portion; µs until all are; µs until the next one is; size of
# the new portion.
GCRA = """
    local limit, period = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000000
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    local step = math.max(1, math.floor(period / limit))
    local stored = redis.call('HGETALL', KEYS[1])
    local clear, leased, life = 0, 0, 0
    for i = 1, #stored, 2 do
        if stored[i] == 'clear' then clear = tonumber(stored[i + 1]) end
    end
    for i = 1, #stored, 2 do
        local id = stored[i]
        if id ~= 'clear' then
            local size, ends = string.match(stored[i + 1], '(%d+) (%d+)')
            if id == ARGV[7] then
                clear = math.max(clear, now) + ARGV[8] * step
                redis.call('HDEL', KEYS[1], id)
            elseif tonumber(ends) < now then
                clear = math.max(clear, tonumber(ends)) + size * step
                redis.call('HDEL', KEYS[1], id)
            else
                leased, life = leased + size, math.max(life, ends - now)
            end
        end
    end
    local debt = math.max(clear, now) - now + leased * step
    local left = function() return math.floor((step * limit - debt) / step) end
    local allowed, size = 1, 0
    if left() < tonumber(ARGV[3]) then
        allowed = 0
    elseif ARGV[3] == '1' then
        clear, debt = math.max(clear, now) + step, debt + step
        size = math.min(tonumber(ARGV[5]), math.floor(left() / SHARE))
        if size > 0 and redis.call('HEXISTS', KEYS[1], ARGV[4]) == 0 then
            redis.call('HSET', KEYS[1], ARGV[4], string.format('%.0f %.0f', size, now + ARGV[6] * 1000))
            life = math.max(life, ARGV[6] * 1000)
        else
            size = 0
        end
    end
    redis.call('HSET', KEYS[1], 'clear', string.format('%.0f', clear))
    redis.call('PEXPIRE', KEYS[1], math.ceil((debt + size * step + life) / 1000))
    return {allowed, math.max(0, left()), debt, allowed == 1 and 0 or debt + step - step * limit, size}
""".replace("SHARE", str(PORTION_SHARE))

REFUND = """
    local step = math.max(1, math.floor(tonumber(ARGV[2]) * 1000000 / tonumber(ARGV[1])))
    local clear = redis.call('HGET', KEYS[1], 'clear')
    if clear then
        redis.call('HSET', KEYS[1], 'clear', string.format('%.0f', clear - step))
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

    @property
    def step(self) -> int:
        """How long one request counts as debt, in µs; as the script computes it."""
        return max(1, self.seconds * 1_000_000 // self.requests)


class RateDecision(Struct, frozen=True):
    """Whether a request is allowed; how many more would be; seconds until all would be, and until the next."""

    allowed: bool
    remaining: int
    reset_after: int
    retry_after: int


class Lease(Struct, frozen=True):
    """The answer to a request, and the portion that was leased with it: requests, 0 for none."""

    decision: RateDecision
    size: int
    debt: int  # µs until all requests are left again, if none of the portion is spent


class Returned(Struct, frozen=True):
    """A portion that its process spends no more of."""

    portion: str
    spent: int


NOTHING_RETURNED = Returned("", 0)


class RateCounters:
    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    async def take(self, rate_class: RateClass, client: str, limit: RateLimit) -> RateDecision:
        """Count one request of `client` in that class. Raises `ValkeyUnavailable`."""
        return (await self.lease(rate_class, client, limit, "", 0, NOTHING_RETURNED)).decision

    async def lease(
        self, rate_class: RateClass, client: str, limit: RateLimit, portion: str, wanted: int, returned: Returned
    ) -> Lease:
        """Count one request, and lease a portion of up to `wanted` more under a new id. It may be spent for
        `PORTION_SECONDS` from before this call. Raises `ValkeyUnavailable`; the returned portion counts as spent then.
        """
        allowed, remaining, debt, retry, size = await self._count(
            rate_class, client, limit, 1, portion, wanted, returned
        )
        decision = RateDecision(bool(allowed), remaining, _seconds(debt), _seconds(retry))
        return Lease(decision, size, debt)

    async def give_back(self, rate_class: RateClass, client: str, limit: RateLimit, returned: Returned) -> None:
        """Return a portion. Raises `ValkeyUnavailable`; the whole portion counts as spent then."""
        await self._count(rate_class, client, limit, 0, "", 0, returned)

    async def refund(self, rate_class: RateClass, client: str, limit: RateLimit) -> None:
        """Take back one request that was counted and allowed. Raises `ValkeyUnavailable`."""
        await self._run(REFUND, rate_class, client, limit)

    async def _count(
        self,
        rate_class: RateClass,
        client: str,
        limit: RateLimit,
        requests: int,
        portion: str,
        wanted: int,
        returned: Returned,
    ) -> list[int]:
        life = int((PORTION_SECONDS + RETURN_SECONDS) * 1000)
        arguments = (requests, portion, wanted, life, returned.portion, returned.spent)
        return await self._run(GCRA, rate_class, client, limit, *arguments)

    async def _run(
        self, script: str, rate_class: RateClass, client: str, limit: RateLimit, *more: str | int
    ) -> list[int]:
        """By the script's hash, which a server does not have before the first use, nor after a restart or failover."""
        key = f"{self._valkey.prefix}:limit:{rate_class}:{{{client}}}"
        arguments = (key, limit.requests, limit.seconds, *more)

        async def run(server: Client) -> list[int]:
            try:
                return list(await server.evalsha(_sha1(script), 1, *arguments))
            except NoScriptError:
                return list(await server.eval(script, 1, *arguments))

        return await self._valkey.call(run)


@lru_cache
def _sha1(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()  # noqa: S324  as Valkey does


def _seconds(microseconds: int) -> int:
    return math.ceil(microseconds / 1_000_000)
