"""Portions of rate limits that this process has leased in Valkey, and spends from its memory.

A client's first request leases nothing; while it sends more than one a second, each next portion is twice as large.
So most requests of a busy client cost no round trip. A portion that was not spent in time is given back.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

import structlog
from msgspec import Struct

from gallery.adapters.valkey.rates import (
    NOTHING_RETURNED,
    PORTION_SECONDS,
    Lease,
    RateClass,
    RateCounters,
    RateDecision,
    RateLimit,
    Returned,
)
from gallery.errors import ValkeyUnavailable

log = structlog.get_logger(__name__)

MAX_PORTION = 500  # requests

Key: TypeAlias = tuple[RateClass, str]  # and the client


class Portion(Struct):
    """`left` requests of the `lease` may be spent before `ends_at`."""

    id: str
    limit: RateLimit
    lease: Lease
    left: int
    ends_at: float
    timer: asyncio.TimerHandle

    @property
    def spent(self) -> int:
        return self.lease.size - self.left

    def spend(self, now: float) -> RateDecision | None:
        if not self.left or now >= self.ends_at:
            return None
        self.left -= 1
        age = now - (self.ends_at - PORTION_SECONDS)
        reset = (self.lease.debt + self.spent * self.limit.step) / 1_000_000 - age
        return RateDecision(
            allowed=True,
            remaining=self.lease.decision.remaining - self.spent,
            reset_after=max(1, math.ceil(reset)),
            retry_after=0,
        )


class RatePortions:
    def __init__(self, counters: RateCounters, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = counters
        self._clock = clock
        self._portions: dict[Key, Portion] = {}
        self._leasing: dict[Key, asyncio.Future[None]] = {}
        self._returning: set[asyncio.Task[None]] = set()
        self._ids = (f"{prefix}.{number}" for prefix in (secrets.token_hex(8),) for number in count())

    def try_spend(self, rate_class: RateClass, client: str) -> RateDecision | None:
        """Count one request, if this process has leased one; else `spend` has to."""
        portion = self._portions.get((rate_class, client))
        return None if portion is None else portion.spend(self._clock())

    async def spend(self, rate_class: RateClass, client: str, limit: RateLimit) -> RateDecision:
        """Count one request. Raises `ValkeyUnavailable`.

        Of several at the same time one leases a portion, and the others wait for it; if it is too small, they ask
        Valkey all at once.
        """
        decision = self.try_spend(rate_class, client)
        if decision is not None:
            return decision
        key = rate_class, client
        pending = self._leasing.get(key)
        if pending is not None:
            await asyncio.shield(pending)  # a client that leaves does not cancel it for the others
            return self.try_spend(rate_class, client) or await self.counters.take(rate_class, client, limit)
        pending = self._leasing[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._lease(key, limit)
        finally:
            del self._leasing[key]
            pending.set_result(None)

    async def _lease(self, key: Key, limit: RateLimit) -> RateDecision:
        old, started_at = self._pop(key), self._clock()
        identifier = next(self._ids)
        lease = await self.counters.lease(*key, limit, identifier, _wanted(old), _returned(old))
        timer = asyncio.get_running_loop().call_later(PORTION_SECONDS, self._end, key)
        self._portions[key] = Portion(identifier, limit, lease, lease.size, started_at + PORTION_SECONDS, timer)
        return lease.decision

    def _pop(self, key: Key) -> Portion | None:
        portion = self._portions.pop(key, None)
        if portion is not None:
            portion.timer.cancel()
        return portion

    def _end(self, key: Key) -> None:
        portion = self._pop(key)
        if portion is not None and portion.left:
            task = asyncio.create_task(self._give_back(key, portion))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _give_back(self, key: Key, portion: Portion) -> None:
        try:
            await self.counters.give_back(*key, portion.limit, _returned(portion))
        except ValkeyUnavailable as error:
            log.debug("rate.not_returned", requests=portion.left, error=str(error))  # they count as spent

    async def close(self) -> None:
        """Give all portions back."""
        for key in list(self._portions):
            self._end(key)
        await asyncio.gather(*self._returning)


def _wanted(old: Portion | None) -> int:
    """The size of the next portion: twice the last one if that was spent in time; none for a new client."""
    return 0 if old is None else min(MAX_PORTION, max(1, 2 * old.spent))


def _returned(portion: Portion | None) -> Returned:
    return Returned(portion.id, portion.spent) if portion is not None and portion.lease.size else NOTHING_RETURNED
