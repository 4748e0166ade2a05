"""The memory and the temporary files of a process, watched from outside."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

INTERVAL_SECONDS = 0.02


@dataclass
class Peak:
    """The most that a process had at once, in bytes, beyond what it had at the beginning."""

    memory: int = 0  # its own, without the pages of files
    temporary_files: int = 0

    def __str__(self) -> str:
        return f"+{self.memory / 1e6:.1f} MB of memory, +{self.temporary_files / 1e6:.1f} MB in temporary files"


@asynccontextmanager
async def watched(pid: int) -> AsyncIterator[Peak]:
    """Watches the process during the block."""
    peak, memory, files = Peak(), own_memory(pid), temporary_bytes(pid)

    async def look() -> None:
        while True:
            peak.memory = max(peak.memory, own_memory(pid) - memory)
            peak.temporary_files = max(peak.temporary_files, temporary_bytes(pid) - files)
            await asyncio.sleep(INTERVAL_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield peak
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def own_memory(pid: int) -> int:
    found = psutil.Process(pid).memory_info()
    return int(found.rss - found.shared)


def temporary_bytes(pid: int) -> int:
    """The sizes of all open files without a name."""
    sizes: dict[int, int] = {}  # by inode: a file may be open twice
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found = path.stat()
            if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())
