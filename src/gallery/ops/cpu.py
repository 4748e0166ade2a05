"""The CPU time of this process, in user and in kernel mode, with the metric names of Node's Prometheus client.

Several processes behind one socket are added up, and the time of a dead process stays in the sum.
"""

import asyncio
import os
import resource
from threading import Lock

from prometheus_client import REGISTRY, Counter

from gallery.ops.instruments import METRICS_DIR_VARIABLE

COUNT_INTERVAL_SECONDS = 5.0  # another process may report for this one

_multiprocess = METRICS_DIR_VARIABLE in os.environ
_registry = None if _multiprocess else REGISTRY  # in multiprocess mode the files of all processes are read
USER = Counter("process_cpu_user_seconds", "User CPU time spent in seconds.", registry=_registry)
SYSTEM = Counter("process_cpu_system_seconds", "System CPU time spent in seconds.", registry=_registry)
# The library has this one for a single process, and leaves it out in multiprocess mode.
TOTAL = Counter("process_cpu_seconds", "User and system CPU time spent in seconds.", registry=None)


class _LastUsage:
    """The usage that has been counted so far, by all threads of this process."""

    lock = Lock()
    user = 0.0
    system = 0.0


def update() -> None:
    """Count the usage since the last call."""
    with _LastUsage.lock:
        used = resource.getrusage(resource.RUSAGE_SELF)
        user, system = (
            max(used.ru_utime, _LastUsage.user),
            max(used.ru_stime, _LastUsage.system),
        )  # the kernel corrects the split, and a counter must not fall
        for counter, seconds in ((USER, user - _LastUsage.user), (SYSTEM, system - _LastUsage.system)):
            counter.inc(seconds)
            TOTAL.inc(seconds)
        _LastUsage.user, _LastUsage.system = user, system


async def update_forever() -> None:
    while True:
        update()
        await asyncio.sleep(COUNT_INTERVAL_SECONDS)
