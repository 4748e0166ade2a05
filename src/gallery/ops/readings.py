"""Values computed for each scrape or report: the length of the queue, images by status, the age of waiting jobs.

A package with such values offers a source, a coroutine function that returns readings; `wiring` names it. The result of
a source is cached for a time that grows with its cost, so that reading it never takes more than a small share of a
server. The values of an unavailable source are missing from the answer, and `gallery_source_up` is 0 for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from gallery.errors import Unavailable, describe_error

log = structlog.get_logger(__name__)

MIN_CACHE_SECONDS = 5.0  # a result is valid at least this long
CACHE_COST_FACTOR = 50  # or this many times as long as it took to compute
SOURCE_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Reading:
    """A gauge `gallery_<name>`, with its values by label values."""

    name: str
    help_text: str
    values: "Values"
    labels: Sequence[str] = ()
    datadog_name: str = ""  # the agent's name, if it has its own


Values: TypeAlias = dict[tuple[str, ...], float]
ReadingSource: TypeAlias = Callable[[], Awaitable[Iterable[Reading]]]


@dataclass
class _CachedReadings:
    valid_until: float = 0.0
    readings: Sequence[Reading] = ()
    up: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Readings:
    def __init__(self, sources: Mapping[str, ReadingSource]) -> None:
        self._sources = sources
        self._cache = {name: _CachedReadings() for name in sources}

    async def collect(self) -> list[Reading]:
        """All readings, some perhaps a few seconds old."""
        cached = await asyncio.gather(*(self._read_cached(name) for name in self._sources))
        up: Values = {(name,): float(c.up) for name, c in zip(self._sources, cached, strict=True)}
        help_text = "Whether a source of computed values has answered"
        return [r for c in cached for r in c.readings] + [Reading("source_up", help_text, up, ["source"])]

    async def _read_cached(self, name: str) -> _CachedReadings:
        cached, clock = self._cache[name], asyncio.get_running_loop().time
        async with cached.lock:
            began = clock()
            if began < cached.valid_until:
                return cached
            cached.readings, cached.up = await self._read(name)
            cached.valid_until = clock() + max(MIN_CACHE_SECONDS, CACHE_COST_FACTOR * (clock() - began))
        return cached

    async def _read(self, name: str) -> tuple[Sequence[Reading], bool]:
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_SECONDS):
                return list(await self._sources[name]()), True
        except (Unavailable, TimeoutError) as error:
            log.debug("readings.unavailable", source=name, error=describe_error(error))
            return [], False
