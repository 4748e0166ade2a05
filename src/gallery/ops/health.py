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

REFUSALS = (DatabaseRefused, ObjectStoreRefused, ValkeyRefused)
PATIENCE = 2.0  # seconds; a probe wants an answer
FRESH = 1.0  # seconds for which an answer is shared: probes need no credential and have no limit


class Lack(Struct, frozen=True):
    """Why one of our needs does not serve us: it is `unavailable`, which may pass, or has `refused` us."""

    reason: str
    state: str = "unavailable"


@dataclass
class _Answer:
    """What one of our needs lacks, or `None`; good until a time of the loop's clock."""

    lack: Lack | None = None
    until: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Health:
    def __init__(self, needs: Mapping[str, Ping]) -> None:
        self._needs = needs
        self._answers = {name: _Answer() for name in needs}
        self.leaving = False

    def leave(self) -> None:
        """From now on we are not to be asked for anything new."""
        self.leaving = True

    @property
    def needs(self) -> Collection[str]:
        """The names of what we need."""
        return self._needs.keys()

    async def away(self, exclude: Collection[str] = ()) -> dict[str, Lack]:
        """What does not serve us, and why; empty when all is well. Each need is asked once a second at most."""
        names = [name for name in self._needs if name not in exclude]
        lacks = await asyncio.gather(*(self._ask(name) for name in names))
        return {name: lack for name, lack in zip(names, lacks, strict=True) if lack is not None}

    async def _ask(self, name: str) -> Lack | None:
        """Callers that come while the need is asked share its answer."""
        answer, clock = self._answers[name], asyncio.get_running_loop().time
        async with answer.lock:
            if clock() >= answer.until:
                answer.lack = await self._ping(name)
                answer.until = clock() + FRESH
            return answer.lack

    async def _ping(self, name: str) -> Lack | None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._needs[name]()
        except TimeoutError:
            return Lack(f"no answer within {PATIENCE:.0f} s")
        except REFUSALS as error:
            return Lack(error.sentence(), "refused")
        except GalleryError as error:
            return Lack(error.sentence())
        return None


def memory() -> dict[str, int]:
    """Bytes of this process: resident, private data mapped (the heap), and the resident part of that."""
    if sys.platform != "linux":
        import resource  # noqa: PLC0415  only here

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"rss": peak, "heapTotal": peak, "heapUsed": peak}
    kib = {line.split(":")[0]: line.split() for line in Path("/proc/self/status").read_text().splitlines()}
    sizes = {"rss": "VmRSS", "heapTotal": "VmData", "heapUsed": "RssAnon"}
    return {name: int(kib[field][1]) * 1024 for name, field in sizes.items()}
