"""The API's event loop has a short time slice; its threads and child processes have ordinary ones."""

import ctypes
import multiprocessing
import os
import platform
import threading

import pytest

from gallery.ops.time_slice import SLICE_NS, shorten_time_slice

GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}
KERNEL = tuple(int(part) for part in platform.release().split(".")[:2]) if platform.system() == "Linux" else (0, 0)

pytestmark = pytest.mark.skipif(
    KERNEL < (6, 12) or platform.machine() not in GET_ATTRIBUTES, reason="this kernel has one slice for all"
)


def slice_of(thread: int = 0) -> int:
    """In nanoseconds: `sched_runtime`, after six fields of 4, 4, 8, 4 and 4 bytes in `struct sched_attr`."""
    attributes = (ctypes.c_uint64 * 7)()
    call = GET_ATTRIBUTES[platform.machine()]
    assert ctypes.CDLL(None).syscall(call, thread, attributes, ctypes.sizeof(attributes), 0) == 0
    return int(attributes[3])


def measure(into) -> None:
    """In a child process: before, after, a new thread's and a new child's."""
    found = [slice_of()]
    shorten_time_slice()
    found.append(slice_of())
    thread = threading.Thread(target=lambda: found.append(slice_of()))
    thread.start()
    thread.join()
    if not (pid := os.fork()):
        os._exit(0 if slice_of() == found[0] else 1)
    found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    into.put((found, os.getpriority(os.PRIO_PROCESS, 0)))


def measure_at_another_policy(into) -> None:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    shorten_time_slice()
    into.put((os.sched_getscheduler(0), slice_of()))


def in_a_child(target):
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    child = context.Process(target=target, args=(results,))
    child.start()
    found = results.get()
    child.join()
    return found


def test_only_the_calling_thread_has_it():
    (before, after, of_thread, child_differs), niceness = in_a_child(measure)
    assert (after, of_thread, child_differs) == (SLICE_NS, before, 0)
    assert before > SLICE_NS
    assert niceness == os.getpriority(os.PRIO_PROCESS, 0)


def test_an_operators_policy_is_kept():
    assert in_a_child(measure_at_another_policy) == (os.SCHED_BATCH, slice_of())


def test_the_api_has_it(stack):
    assert slice_of(stack.find_child("gallery", "serve").pid) == SLICE_NS
