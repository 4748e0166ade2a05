"""How much one process may hold open at once. Connections and files come out of one limit, that of open files.

Half of it is for streams, a tenth for requests under way, each of which may hold a spool and an object beside its
connection; idle connections are closed beyond three quarters. What is left is for PostgreSQL, Valkey and probes.
"""

import resource
from contextlib import suppress

from msgspec import Struct

MAX_STREAMS = 10_000  # what docs/performance.md has measured; each takes some 30 KiB
MAX_FILES = 65_536  # to which the limit is raised; more than all of this needs


class Capacity(Struct, frozen=True):
    streams: int
    requests: int
    connections: int


def capacity(files: int | None = None) -> Capacity:
    """What so many files allow; without a number, the file limit of this process."""
    if files is None:
        files = _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return Capacity(streams=min(MAX_STREAMS, files // 2), requests=files // 10, connections=files * 3 // 4)


def file_limits() -> tuple[int, int]:
    """The limit of open files as `raise_file_limit` will leave it, and the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_finite(soft), min(_finite(hard), MAX_FILES)), hard


def raise_file_limit() -> None:
    """A shell's soft limit is often 1,024, of many more that a process may take without asking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted, _ = file_limits()
    if _finite(soft) < wanted:
        with suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _finite(limit: int) -> int:
    return MAX_FILES if limit == resource.RLIM_INFINITY else limit
