"""Budgets of work, kept in Valkey: how many seconds of it each client may cause in a period.

The algorithm is that of the request limits (`rates.py`): a key holds the moment at which its client's debt is paid off.
Work of `cost` seconds adds `cost * period / budget` to the debt, and is refused if the debt would then exceed `period`.
What the work has really taken is corrected afterwards, and may exceed it: that has to be paid off before the next.
"""

import hashlib
import time
from typing import NamedTuple

from redis.exceptions import NoScriptError

from gallery.adapters.valkey.client import Client, Valkey

MICROSECONDS = 1_000_000
MAX_REFUSED_CLIENTS = 10_000  # that are remembered
SPEND = """
    local budget, period, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    local debt = math.max(0, tonumber(redis.call('GET', KEYS[1]) or 0) - now)
    local step = cost * period / budget
    if ARGV[4] == '1' and debt > 0 and debt + step > period then
        return math.ceil(debt + step - period)
    end
    debt = math.ceil(math.max(0, debt + step))
    if debt > 0 then
        redis.call('SET', KEYS[1], string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
    else
        redis.call('DEL', KEYS[1])
    end
    return 0
"""
SPEND_SHA1 = hashlib.sha1(SPEND.encode()).hexdigest()  # noqa: S324  as Valkey does


class Budget(NamedTuple):
    """So many seconds of work in a period of so many seconds."""

    seconds: float
    period: float


class Budgets:
    def __init__(self, valkey: Valkey, kind: str, budget: Budget) -> None:
        self._valkey = valkey
        self._kind = kind
        self._budget = budget
        self._refused_until: dict[str, float] = {}  # `time.monotonic`, by client

    async def try_spend(self, client: str, seconds: float) -> float:
        """Take these seconds from the client's budget and return 0; or take nothing, and return in how many seconds
        the client may try again. Until then it is refused without asking Valkey. Raises `ValkeyUnavailable`.
        """
        now = time.monotonic()
        until = self._refused_until.get(client, now)
        if now < until:
            return until - now
        wait = await self._run(client, seconds, check=True) / MICROSECONDS
        if wait:
            if len(self._refused_until) >= MAX_REFUSED_CLIENTS:
                self._refused_until.clear()
            self._refused_until[client] = now + wait
        return wait

    async def correct(self, client: str, seconds: float) -> None:
        """Take these seconds, even beyond the budget; negative seconds are given back. Raises `ValkeyUnavailable`."""
        await self._run(client, seconds, check=False)

    async def _run(self, client: str, seconds: float, *, check: bool) -> int:
        values = [round(value * MICROSECONDS) for value in (*self._budget, seconds)]
        key = f"{self._valkey.prefix}:budget:{self._kind}:{{{client}}}"

        async def run(server: Client) -> int:
            try:
                return int(await server.evalsha(SPEND_SHA1, 1, key, *values, int(check)))
            except NoScriptError:
                return int(await server.eval(SPEND, 1, key, *values, int(check)))

        return await self._valkey.call(run)
