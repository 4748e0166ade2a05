"""The API's event loop has a short time slice; its threads and child processes have ordinary ones."""

import ctypes
import multiprocessing
import os
import platform
import re
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest

from gallery.ops import time_slice
from gallery.ops.time_slice import GET_ATTRIBUTES, SLICE_NS, shorten_time_slice

LINUX = re.match(r"(\d+)\.(\d+)", platform.release()) if platform.system() == "Linux" else None
KERNEL = tuple(map(int, LINUX.groups())) if LINUX else (0, 0)

pytestmark = pytest.mark.skipif(
    KERNEL < (6, 12) or platform.machine() not in GET_ATTRIBUTES, reason="this kernel has one slice for all"
)


def slice_of(thread: int = 0) -> int:
    """In nanoseconds: `sched_runtime`, after six fields of 4, 4, 8, 4 and 4 bytes in `struct sched_attr`."""
    attributes = (ctypes.c_uint64 * 7)()
    call = GET_ATTRIBUTES[platform.machine()]
    assert ctypes.CDLL(None).syscall(call, thread, attributes, ctypes.sizeof(attributes), 0) == 0
    return int(attributes[3])


def in_a_child(work):
    """What `work` returns in a process of its own, whose scheduling it may change."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(work).result(timeout=60)


def slices_of_threads_and_children() -> tuple[int, int, int, int]:
    """Before, after, a new thread's, and 0 if a new child has the one before."""
    before, of_thread = slice_of(), []
    shorten_time_slice()
    thread = threading.Thread(target=lambda: of_thread.append(slice_of()))
    thread.start()
    thread.join()
    if not (pid := os.fork()):
        os._exit(int(slice_of() != before))
    return before, slice_of(), of_thread[0], os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def slice_with_niceness_5() -> tuple[int, int]:
    os.nice(5)
    shorten_time_slice()
    return slice_of(), os.getpriority(os.PRIO_PROCESS, 0)


def slice_with_another_policy() -> tuple[int, int]:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    shorten_time_slice()
    return slice_of(), os.sched_getscheduler(0)


def slice_with_higher_priority() -> tuple[int, int]:
    os.nice(-5)
    shorten_time_slice()
    return slice_of(), os.getpriority(os.PRIO_PROCESS, 0)


def slice_where_the_calls_are_refused() -> int:
    time_slice.GET_ATTRIBUTES = time_slice.SET_ATTRIBUTES = {platform.machine(): 100_000}  # no system call's number
    shorten_time_slice()
    return slice_of()


def test_only_the_calling_thread_has_it():
    before, after, of_thread, child_differs = in_a_child(slices_of_threads_and_children)
    assert (after, of_thread, child_differs) == (SLICE_NS, before, 0)
    assert before > SLICE_NS


def test_its_niceness_stays():
    assert in_a_child(slice_with_niceness_5) == (SLICE_NS, os.getpriority(os.PRIO_PROCESS, 0) + 5)


def test_an_operators_policy_is_kept():
    assert in_a_child(slice_with_another_policy) == (slice_of(), os.SCHED_BATCH)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority")
def test_a_process_of_higher_priority_keeps_it_for_its_children():
    assert in_a_child(slice_with_higher_priority) == (slice_of(), os.getpriority(os.PRIO_PROCESS, 0) - 5)


def test_where_it_is_refused_the_api_goes_on():
    assert in_a_child(slice_where_the_calls_are_refused) == slice_of()


def test_the_api_has_it(stack):
    assert slice_of(stack.find_child("gallery", "serve").pid) == SLICE_NS
