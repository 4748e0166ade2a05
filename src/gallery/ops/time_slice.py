"""A short time slice for the thread of the event loop, so that it waits less for a core.

Linux lets a process go on for its slice, 1.4 ms on two cores, before a woken one of the same priority has its turn, and
the API wakes up thousands of times a second for some 0.2 ms. A thread with a shorter slice interrupts the others, at no
cost in their share of the CPU: `sched_attr.sched_runtime` in sched_setattr(2), from Linux 6.12 on; older kernels ignore
it. Its threads and child processes have ordinary slices.
"""

import ctypes
import os
import platform
import sys

import structlog

log = structlog.get_logger(__name__)

SLICE_NS = 100_000  # the shortest that Linux has
SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}  # the system call by machine; no C library has it before glibc 2.41
RESET_ON_FORK = 1


class _Attributes(ctypes.Structure):
    """`struct sched_attr`, in its first version."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    ]


def shorten_time_slice() -> None:
    """Give the calling thread a short slice, unless an operator has given the process another scheduling policy."""
    call = SET_ATTRIBUTES.get(platform.machine())
    if sys.platform != "linux" or call is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    attributes = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=os.SCHED_OTHER,
        flags=RESET_ON_FORK,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime=SLICE_NS,
    )
    if ctypes.CDLL(None, use_errno=True).syscall(call, 0, ctypes.byref(attributes), 0):
        log.debug("time_slice.refused", error=os.strerror(ctypes.get_errno()))
