"""What is computed when somebody asks how it stands: depth of the queue, images by status, age of what waits.

A room that knows such a thing offers a source, a coroutine function that returns readings; `wiring` names it. Each
source is asked at most once in a while: a time that grows with what asking costs, so that it never takes more than a
small share of a server. One that is away is missing in the answer, and `gallery_source_up` says so.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from gallery.errors import Unavailable, describe_error

log = structlog.get_logger(__name__)

MIN_CACHE_SECONDS = 5.0  # seconds at least for which an answer is good
CACHE_COST_FACTOR = 50  # times what it took to compute it
SOURCE_TIMEOUT_SECONDS = 5.0  # seconds for one source


@dataclass(frozen=True)
class Reading:
    """A gauge `gallery_<name>` with its values by those of its labels."""

    name: str
    help_text: str
    values: "Values"
    labels: Sequence[str] = ()
    datadog_name: str = ""  # to the Datadog agent, where it has a name of its own


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
        """Everything that can be said now, or could some seconds ago."""
        kept = await asyncio.gather(*(self._read_cached(name) for name in self._sources))
        up: Values = {(name,): float(k.up) for name, k in zip(self._sources, kept, strict=True)}
        says = "Whether a source of what is computed when asked for has answered"
        return [r for k in kept for r in k.readings] + [Reading("source_up", says, up, ["source"])]

    async def _read_cached(self, name: str) -> _CachedReadings:
        kept, clock = self._cache[name], asyncio.get_running_loop().time
        async with kept.lock:
            began = clock()
            if began < kept.valid_until:
                return kept
            kept.readings, kept.up = await self._read(name)
            kept.valid_until = clock() + max(MIN_CACHE_SECONDS, CACHE_COST_FACTOR * (clock() - began))
        return kept

    async def _read(self, name: str) -> tuple[Sequence[Reading], bool]:
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_SECONDS):
                return list(await self._sources[name]()), True
        except (Unavailable, TimeoutError) as error:
            log.debug("readings.away", source=name, error=describe_error(error))
            return [], False
