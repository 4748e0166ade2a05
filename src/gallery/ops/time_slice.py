"""A short time slice for the thread of the event loop, so that it waits less for a core.

Linux lets a process go on for its slice, 1.4 ms on two cores, before a woken one of the same priority has its turn, and
the API wakes up thousands of times a second for some 0.2 ms. A thread with a shorter slice interrupts the others, at no
cost in their share of the CPU: `sched_attr.sched_runtime` in sched_setattr(2), from Linux 6.12 on; older kernels ignore
it. Its threads and child processes have ordinary slices, by a flag that would also take a negative niceness from them.
"""

import ctypes
import os
import platform
import sys

import structlog

log = structlog.get_logger(__name__)

SLICE_NS = 100_000  # the shortest that Linux has
SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}  # the system call by machine; no C library has it before glibc 2.41
GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}
ORDINARY_POLICY = 0  # SCHED_OTHER
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
    """Give the calling thread a short slice, where the system can, unless an operator has given the process another
    scheduling policy or a higher priority.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in SET_ATTRIBUTES:
        return
    call = ctypes.CDLL(None, use_errno=True).syscall
    attributes, size = _Attributes(), ctypes.sizeof(_Attributes)
    if call(GET_ATTRIBUTES[machine], 0, ctypes.byref(attributes), size, 0):
        log.debug("time_slice.unknown", error=os.strerror(ctypes.get_errno()))
        return
    if attributes.policy != ORDINARY_POLICY or attributes.nice < 0:
        return
    attributes.flags |= RESET_ON_FORK
    attributes.runtime = SLICE_NS
    if call(SET_ATTRIBUTES[machine], 0, ctypes.byref(attributes), 0):
        log.debug("time_slice.refused", error=os.strerror(ctypes.get_errno()))
