"""Work in child processes: one that crashes, hangs or eats memory costs its own job and nothing else.

A child is replaced after it died and after `MOST_TASKS` jobs; it ignores Ctrl-C, which reaches the whole process group
(its worker decides when it ends), and it ends by itself when its worker is gone.
"""

import asyncio
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog
from pebble import ProcessExpired, ProcessPool

from gallery.errors import (
    CannotStart,
    RendererAway,
    RendererCrashed,
    RendererFailed,
    RendererOutOfMemory,
    RendererTimedOut,
)
from gallery.processing.confinement import confine
from gallery.processing.results import Context, Stranger

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DISTRIBUTION, PROGRAM = "gallery-api", "gallery-renderer"
MOST_TASKS = 500
MOST_POOLS = 5  # for one job
NICENESS = 5  # behind the API on a small machine


class Pool:
    def __init__(self, make: Callable[[], ProcessPool], deadline: float, memory: int) -> None:
        self._make = make
        self._pool = make()
        self._deadline = deadline
        self._memory = memory

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns or raises in a child, killed when cancelled or after the deadline.

        Raises `RendererCrashed`, `RendererTimedOut`, `RendererOutOfMemory`, `RendererFailed` for a result that is none;
        `RendererAway` where no child can work.
        """
        for _ in range(MOST_POOLS):
            try:
                result = await asyncio.wrap_future(self._scheduled(partial(work, *args, **kwargs)))
            except BrokenProcessPool:  # a child died that had nothing to do: not this job's fault
                log.warning("pool.broken")
            except TimeoutError as error:
                raise RendererTimedOut(seconds=self._deadline) from error
            except ProcessExpired as error:
                raise RendererCrashed(exit_code=error.exitcode) from error
            except MemoryError as error:
                raise RendererOutOfMemory(limit=self._memory, reason=str(error)) from error
            else:
                if isinstance(result, Stranger):
                    raise RendererFailed(reason="it has sent home what no work of ours makes")
                return result
        raise RendererAway(pools=MOST_POOLS)

    def end(self) -> None:
        _end(self._pool)

    def _scheduled(self, work: Callable[[], T]) -> "Future[T]":
        try:
            return self._whole().schedule(work, timeout=self._deadline)
        except RuntimeError as error:  # one of its threads has died: pebble gives no other sign
            raise BrokenProcessPool from error

    def _whole(self) -> ProcessPool:
        """Pebble gives a pool up when an idle child is killed; then there is a new one."""
        if not self._pool.active:
            threading.Thread(target=_end, args=(self._pool,), name="ending pool").start()
            self._pool = self._make()
        return self._pool


@contextmanager
def open_pool(size: int, deadline: float, memory: int, scratch: Path, closed: Path) -> Iterator[Pool]:
    """`size` children, started when first needed, each with `memory` bytes of data at most.

    They write below `scratch` alone, and read nothing below `closed` (processing/confinement.py). Raises `CannotStart`.
    """
    context = Context()
    context.set_executable(_interpreter())

    def make() -> ProcessPool:
        return ProcessPool(
            max_workers=size,
            max_tasks=MOST_TASKS,
            initializer=_prepare_child,
            initargs=(os.getpid(), memory, scratch, closed),
            context=context,
        )

    pool = Pool(make, deadline, memory)
    try:
        yield pool
    finally:
        pool.end()


def _interpreter() -> str:
    """Where the program of processing/interpreter.py was installed. Raises `CannotStart`."""
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        raise CannotStart(
            f"{DISTRIBUTION} is not installed for this Python, and renderers need its program {PROGRAM}: "
            f"pip install {DISTRIBUTION}, or pip install -e . in a checkout."
        ) from None
    found = next((file for file in files if file.name == PROGRAM), None)
    if found is None:
        raise CannotStart(f"The program {PROGRAM} is missing beside gallery: install {DISTRIBUTION} again.")
    return os.path.normpath(found.locate())


def _end(pool: ProcessPool) -> None:
    pool.stop()
    pool.join(timeout=5)


def _prepare_child(parent: int, memory: int, scratch: Path, closed: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    confine(scratch, closed)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(0)
