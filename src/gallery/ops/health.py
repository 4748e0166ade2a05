"""The health of the services that Gallery depends on, and the memory of this process."""

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
PING_TIMEOUT_SECONDS = 2.0  # probes must be answered in time
CACHE_SECONDS = 1.0  # the result is shared: probes need no credential and have no rate limit


class HealthFailure(Struct, frozen=True):
    """The reason why a dependency fails: it is `unavailable`, which may pass, or has `refused` the credentials."""

    reason: str
    state: str = "unavailable"


@dataclass
class _CachedCheck:
    """The failure of a dependency, or `None`; valid until a time of the event loop's clock."""

    failure: HealthFailure | None = None
    valid_until: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Health:
    def __init__(self, dependencies: Mapping[str, Ping]) -> None:
        self._dependencies = dependencies
        self._checks = {name: _CachedCheck() for name in dependencies}
        self.draining = False

    def start_draining(self) -> None:
        """From now on this process should get no new requests."""
        self.draining = True

    @property
    def dependencies(self) -> Collection[str]:
        """The names of the dependencies."""
        return self._dependencies.keys()

    async def failures(self, exclude: Collection[str] = ()) -> dict[str, HealthFailure]:
        """The failed dependencies with their failures; empty when all is well. Each is pinged once a second at most."""
        names = [name for name in self._dependencies if name not in exclude]
        found = await asyncio.gather(*(self._check(name) for name in names))
        return {name: failure for name, failure in zip(names, found, strict=True) if failure is not None}

    async def _check(self, name: str) -> HealthFailure | None:
        """Callers that come during a ping share its result."""
        check, clock = self._checks[name], asyncio.get_running_loop().time
        async with check.lock:
            if clock() >= check.valid_until:
                check.failure = await self._ping(name)
                check.valid_until = clock() + CACHE_SECONDS
            return check.failure

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
    """Bytes of this process: resident, mapped private data (the heap), and the resident part of that."""
    if sys.platform != "linux":
        import resource  # noqa: PLC0415  not on Linux

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"rss": peak, "heapTotal": peak, "heapUsed": peak}
    kib = {line.split(":")[0]: line.split() for line in Path("/proc/self/status").read_text().splitlines()}
    sizes = {"rss": "VmRSS", "heapTotal": "VmData", "heapUsed": "RssAnon"}
    return {name: int(kib[field][1]) * 1024 for name, field in sizes.items()}
