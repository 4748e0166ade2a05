"""The WAL position that a replica must have reached to answer, so that no client reads data older than an event it got.

After a change the primary's position (the WAL written so far) is recorded in Valkey for the change's subjects, before
the change is published. The record lives a little longer than a replica may lag and still be used. A process that may
miss records (Valkey is or was unavailable, or has lost its memory) reads from the primary.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from gallery.adapters.valkey.client import Valkey
from gallery.errors import ValkeyUnavailable

MARGIN_SECONDS = 10.0  # a record outlives the longest lag by this: probes, time-outs, clock steps
UNKNOWN_POSITION = 2**53 - 1  # no replica reaches it; the largest integer that Lua counts exactly
MAX_LOCAL_POSITIONS = 50_000  # per process

# All keys share one cluster slot, so that the records and the key that proves them complete are on one server.
RECORD_POSITION = """
    for i, key in ipairs(KEYS) do
        if tonumber(redis.call('GET', key) or 0) < tonumber(ARGV[1]) then redis.call('SET', key, ARGV[1]) end
        redis.call('PEXPIRE', key, ARGV[2])
    end
"""
# If the key `born` is older than a record's lifetime, no record was lost since: not by a restart, not by FLUSHALL.
REQUIRED_POSITION = """
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
    local born = redis.call('GET', KEYS[1])
    if not born then
        redis.call('SET', KEYS[1], string.format('%.0f', now), 'PX', 86400000)
        return -1
    end
    if now - tonumber(born) < tonumber(ARGV[1]) then return -1 end
    return tonumber(redis.call('GET', KEYS[2]) or 0)
"""


class Positions:
    def __init__(self, valkey: Valkey, max_lag: float) -> None:
        self._valkey = valkey
        self._ttl_seconds = max_lag + MARGIN_SECONDS
        self._local: OrderedDict[str, tuple[int, float]] = OrderedDict()  # ordered by expiry

    async def record(self, subjects: Iterable[str], position: int) -> None:
        """From now on readers of `subjects` need `position`. Raises `ValkeyUnavailable` if others may miss it."""
        keys = list(dict.fromkeys(subjects))
        self._record_locally(keys, position)
        names = [self._key(subject) for subject in keys]
        await self._valkey.call(
            lambda server: server.eval(RECORD_POSITION, len(names), *names, position, self._ttl_milliseconds)
        )

    async def find_required(self, subject: str) -> int | None:
        """The position that a replica needs to answer about `subject`; `None` when it is unknown."""
        if asyncio.get_running_loop().time() - self._valkey.last_failure_at < self._ttl_seconds:
            return None
        born, key = self._key("born"), self._key(subject)
        try:
            found = await self._valkey.call(
                lambda server: server.eval(REQUIRED_POSITION, 2, born, key, self._ttl_milliseconds)
            )
        except ValkeyUnavailable:
            return None
        return None if found < 0 else max(int(found), self._local_position(subject))

    def _record_locally(self, subjects: Iterable[str], position: int) -> None:
        now = asyncio.get_running_loop().time()
        for subject in subjects:
            self._local[subject] = (max(position, self._local_position(subject)), now + self._ttl_seconds)
            self._local.move_to_end(subject)
        while self._local and (next(iter(self._local.values()))[1] < now or len(self._local) > MAX_LOCAL_POSITIONS):
            self._local.popitem(last=False)

    def _local_position(self, subject: str) -> int:
        position, until = self._local.get(subject, (0, 0.0))
        return position if until > asyncio.get_running_loop().time() else 0

    @property
    def _ttl_milliseconds(self) -> int:
        return round(self._ttl_seconds * 1000)

    def _key(self, name: str) -> str:
        return f"{{{self._valkey.prefix}:replicas}}:{name}"
