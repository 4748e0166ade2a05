"""The connections and files that one process may hold open at once; both count against its limit of open files.

Half of the limit is for streams, a tenth for active requests, each of which may hold a spool and an object beside its
connection; idle connections are closed beyond three quarters. The rest is for PostgreSQL, Valkey and probes.
"""

import resource
from contextlib import suppress

from msgspec import Struct

MAX_STREAMS = 10_000  # measured in docs/performance.md; each takes about 15 KiB
MAX_FILES = 65_536  # the limit is raised to this; more than all of this needs


class Capacity(Struct, frozen=True):
    streams: int
    requests: int
    connections: int


def capacity(files: int | None = None) -> Capacity:
    """The capacity for that number of open files; without a number, for the file limit of this process."""
    if files is None:
        files = _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return Capacity(streams=min(MAX_STREAMS, files // 2), requests=files // 10, connections=files * 3 // 4)


def file_limits() -> tuple[int, int]:
    """The limit of open files after `raise_file_limit`, and the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_finite(soft), min(_finite(hard), MAX_FILES)), hard


def raise_file_limit() -> None:
    """Raise the soft limit, often 1,024 in a shell, towards the hard limit, which needs no permission."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted, _ = file_limits()
    if _finite(soft) < wanted:
        with suppress(OSError, ValueError):  # macOS allows less than its hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _finite(limit: int) -> int:
    return MAX_FILES if limit == resource.RLIM_INFINITY else limit
