"""How far a replica must be to answer: who has been told of a change is never answered from before it.

After a change the primary's position (how much it has written by then) is noted in Valkey for the change's subjects,
before anybody is told. The note lives a little longer than a replica may lag and still be used; after that it is not
needed. Whoever cannot know all notes (Valkey is away, has just been, or has lost its memory) asks the primary.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from gallery.adapters.valkey.client import Valkey
from gallery.errors import ValkeyUnavailable

MARGIN_SECONDS = 10.0  # seconds that a note outlives the longest lag: probes, time-outs, clocks' steps
UNKNOWN_POSITION = 2**53 - 1  # the position that no replica reaches; Lua counts that far exactly
MAX_LOCAL_NOTES = 50_000  # notes that one process remembers itself

# All keys are in one slot of a cluster, so that notes and the proof that none is lost are in one memory.
RECORD_POSITION = """
    for i, key in ipairs(KEYS) do
        if tonumber(redis.call('GET', key) or 0) < tonumber(ARGV[1]) then redis.call('SET', key, ARGV[1]) end
        redis.call('PEXPIRE', key, ARGV[2])
    end
"""
# What is older than a note's life proves that none has been lost since: not by a restart, not by FLUSHALL.
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
        self._local: OrderedDict[str, tuple[int, float]] = OrderedDict()  # in the order in which they end

    async def record(self, subjects: Iterable[str], position: int) -> None:
        """Whoever reads of `subjects` needs `position`. Raises `ValkeyUnavailable` when only this process knows it
        now.
        """
        keys = list(dict.fromkeys(subjects))
        self._record_locally(keys, position)
        names = [self._key(subject) for subject in keys]
        await self._valkey.call(
            lambda server: server.eval(RECORD_POSITION, len(names), *names, position, self._ttl_milliseconds)
        )

    async def find_required(self, subject: str) -> int | None:
        """What a replica must have replayed to answer about `subject`; `None` when that cannot be known."""
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
        while self._local and (next(iter(self._local.values()))[1] < now or len(self._local) > MAX_LOCAL_NOTES):
            self._local.popitem(last=False)

    def _local_position(self, subject: str) -> int:
        position, until = self._local.get(subject, (0, 0.0))
        return position if until > asyncio.get_running_loop().time() else 0

    @property
    def _ttl_milliseconds(self) -> int:
        return round(self._ttl_seconds * 1000)

    def _key(self, name: str) -> str:
        return f"{{{self._valkey.prefix}:replicas}}:{name}"
