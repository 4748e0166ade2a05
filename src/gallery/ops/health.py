"""Whether what we need is there, and how much memory this process takes."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from gallery.errors import DatabaseRefused, GalleryError, ObjectStoreRefused, ValkeyRefused

Ping: TypeAlias = Callable[[], Awaitable[None]]

REFUSED_ERRORS = (DatabaseRefused, ObjectStoreRefused, ValkeyRefused)
PING_TIMEOUT_SECONDS = 2.0  # seconds; a probe wants an answer
CACHE_SECONDS = 1.0  # seconds for which an answer is shared: probes need no credential and have no limit


class HealthFailure(Struct, frozen=True):
    """Why one of our needs does not serve us: it is `unavailable`, which may pass, or has `refused` us."""

    reason: str
    state: str = "unavailable"


@dataclass
class _CachedCheck:
    """What one of our needs lacks, or `None`; good until a time of the loop's clock."""

    failure: HealthFailure | None = None
    valid_until: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Health:
    def __init__(self, dependencies: Mapping[str, Ping]) -> None:
        self._dependencies = dependencies
        self._checks = {name: _CachedCheck() for name in dependencies}
        self.draining = False

    def start_draining(self) -> None:
        """From now on we are not to be asked for anything new."""
        self.draining = True

    @property
    def dependencies(self) -> Collection[str]:
        """The names of what we need."""
        return self._dependencies.keys()

    async def failures(self, exclude: Collection[str] = ()) -> dict[str, HealthFailure]:
        """What does not serve us, and why; empty when all is well. Each need is asked once a second at most."""
        names = [name for name in self._dependencies if name not in exclude]
        lacks = await asyncio.gather(*(self._check(name) for name in names))
        return {name: lack for name, lack in zip(names, lacks, strict=True) if lack is not None}

    async def _check(self, name: str) -> HealthFailure | None:
        """Callers that come while the need is asked share its answer."""
        answer, clock = self._checks[name], asyncio.get_running_loop().time
        async with answer.lock:
            if clock() >= answer.valid_until:
                answer.failure = await self._ping(name)
                answer.valid_until = clock() + CACHE_SECONDS
            return answer.failure

    async def _ping(self, name: str) -> HealthFailure | None:
        try:
            async with asyncio.timeout(PING_TIMEOUT_SECONDS):
                await self._dependencies[name]()
        except TimeoutError:
            return HealthFailure(f"no answer within {PING_TIMEOUT_SECONDS:.0f} s")
        except REFUSED_ERRORS as error:
            return HealthFailure(error.sentence(), "refused")
        except GalleryError as error:
            return HealthFailure(error.sentence())
        return None


def memory_usage() -> dict[str, int]:
    """Bytes of this process: resident, private data mapped (the heap), and the resident part of that."""
    if sys.platform != "linux":
        import resource  # noqa: PLC0415  only here

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"rss": peak, "heapTotal": peak, "heapUsed": peak}
    kib = {line.split(":")[0]: line.split() for line in Path("/proc/self/status").read_text().splitlines()}
    sizes = {"rss": "VmRSS", "heapTotal": "VmData", "heapUsed": "RssAnon"}
    return {name: int(kib[field][1]) * 1024 for name, field in sizes.items()}
