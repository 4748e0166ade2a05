"""The processor time of this process, for its own code and for the kernel's, as Node's Prometheus client names them.

Several processes behind one socket add theirs up, and what a dead one has used stays in the sum.
"""

import asyncio
import os
import resource
from threading import Lock

from prometheus_client import REGISTRY, Counter

from gallery.ops.instruments import METRICS_DIR_VARIABLE

COUNT_INTERVAL_SECONDS = 5.0  # seconds between two looks of a process that another one may be asked for

_multiprocess = METRICS_DIR_VARIABLE in os.environ
_registry = None if _multiprocess else REGISTRY  # together, the files of all processes are what is read
USER = Counter("process_cpu_user_seconds", "User CPU time spent in seconds.", registry=_registry)
SYSTEM = Counter("process_cpu_system_seconds", "System CPU time spent in seconds.", registry=_registry)
# A single process has this one from the library, which leaves it out where several measure together.
TOTAL = Counter("process_cpu_seconds", "User and system CPU time spent in seconds.", registry=None)


class _LastUsage:
    """What has been counted of this process, by whichever of its threads."""

    lock = Lock()
    user = 0.0
    system = 0.0


def update() -> None:
    """Count what has been used since the last time."""
    with _LastUsage.lock:
        used = resource.getrusage(resource.RUSAGE_SELF)
        user, system = (
            max(used.ru_utime, _LastUsage.user),
            max(used.ru_stime, _LastUsage.system),
        )  # the kernel divides anew
        for counter, seconds in ((USER, user - _LastUsage.user), (SYSTEM, system - _LastUsage.system)):
            counter.inc(seconds)
            TOTAL.inc(seconds)
        _LastUsage.user, _LastUsage.system = user, system


async def update_forever() -> None:
    while True:
        update()
        await asyncio.sleep(COUNT_INTERVAL_SECONDS)
