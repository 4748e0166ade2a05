"""Renderers: child processes, so that a crash, a hang or a lack of memory costs one job only.

A child is replaced after it dies and after `MAX_TASKS` jobs. It ignores Ctrl-C, which reaches the whole process group:
its worker decides when it ends. It ends by itself when its worker has died.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import ParamSpec, TypeVar

import structlog
from pebble import ProcessExpired, ProcessPool

from gallery.errors import (
    CannotStart,
    RendererCrashed,
    RendererFailed,
    RendererOutOfMemory,
    RendererTimedOut,
    RendererUnavailable,
)
from gallery.renderers.child import prepare_child
from gallery.renderers.results import RestrictedContext, UntrustedObject

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

DISTRIBUTION, PROGRAM = "gallery-api", "gallery-renderer"
MAX_TASKS = 500
MAX_POOLS = 5  # for one job
START_SECONDS = 20  # in which a child starts on a busy machine; the deadline counts from then on
NICENESS = 5  # so that the API goes first on a small machine


class RendererPool:
    """Children that render. A caller of `run` holds one of `slots`, as many as children: so its work starts at once."""

    def __init__(self, make_pool: Callable[[], ProcessPool], size: int, deadline: float, memory: int) -> None:
        self._make_pool = make_pool
        self._pool = make_pool()
        self.slots = asyncio.Semaphore(size)
        self._deadline = deadline
        self._memory = memory

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns or raises the outcome of `work` in a child, which is killed when cancelled or after the deadline.

        Raises `RendererCrashed`, `RendererTimedOut`, `RendererOutOfMemory`; `RendererFailed` for a result of another
        type; `RendererUnavailable` when no child can be started.
        """
        for _ in range(MAX_POOLS):
            try:
                async with asyncio.timeout(self._deadline + START_SECONDS) as patience:
                    result = await asyncio.wrap_future(self._schedule(partial(work, *args, **kwargs)))
            except BrokenProcessPool:  # an idle child died: not this job's fault
                log.warning("renderers.pool_broken")
            except TimeoutError as error:
                if not patience.expired():
                    raise RendererTimedOut(seconds=self._deadline) from error
                log.warning("renderers.job_lost")  # pebble can forget a job when an idle child dies at its start
                self._replace_pool(_retire, self._deadline)
            except ProcessExpired as error:
                raise RendererCrashed(exit_code=error.exitcode) from error
            except MemoryError as error:
                raise RendererOutOfMemory(limit=self._memory, reason=str(error)) from error
            else:
                if isinstance(result, UntrustedObject):
                    raise RendererFailed(reason="it returned an object of a type that is not allowed")
                return result
        raise RendererUnavailable(pools=MAX_POOLS)

    def close(self) -> None:
        _stop(self._pool)

    def _schedule(self, work: Callable[[], T]) -> "Future[T]":
        try:
            return self._usable_pool().schedule(work, timeout=self._deadline)
        except RuntimeError as error:  # pebble's only sign that one of its threads has died
            raise BrokenProcessPool from error

    def _usable_pool(self) -> ProcessPool:
        """The pool, or a new one: pebble closes a pool when an idle child is killed."""
        if not self._pool.active:
            self._replace_pool(_stop)
        return self._pool

    def _replace_pool(self, end: Callable[..., None], *arguments: float) -> None:
        threading.Thread(target=end, args=(self._pool, *arguments), name="ending pool", daemon=True).start()
        self._pool = self._make_pool()


@contextmanager
def open_renderers(
    size: int, deadline: float, memory: int, scratch: Path, denied: Path, niceness: int = NICENESS
) -> Iterator[RendererPool]:
    """Yields a pool of `size` children, started when first needed, each with at most `memory` bytes of data.

    They write below `scratch` only and read nothing below `denied` (renderers/confinement.py). Raises `CannotStart`.
    """
    context = RestrictedContext()
    context.set_executable(_interpreter())

    def make() -> ProcessPool:
        return ProcessPool(
            max_workers=size,
            max_tasks=MAX_TASKS,
            initializer=prepare_child,
            initargs=(os.getpid(), memory, scratch, denied, niceness),
            context=context,
        )

    pool = RendererPool(make, size, deadline, memory)
    try:
        yield pool
    finally:
        pool.close()


def _interpreter() -> str:
    """The path of the installed program of renderers/interpreter.py. Raises `CannotStart`."""
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        raise CannotStart(
            f"{DISTRIBUTION} is not installed for this Python, and renderers need its program {PROGRAM}. "
            f"Run pip install {DISTRIBUTION}, or pip install -e . in a checkout."
        ) from None
    found = next((file for file in files if file.name == PROGRAM), None)
    if found is None:
        raise CannotStart(f"The program {PROGRAM} is missing from the installation. Install {DISTRIBUTION} again.")
    return os.path.normpath(found.locate())


def _stop(pool: ProcessPool) -> None:
    pool.stop()
    pool.join(timeout=5)


def _retire(pool: ProcessPool, deadline: float) -> None:
    """Lets the jobs of others end before the pool does."""
    pool.close()
    with suppress(TimeoutError):  # of the lost job, which never ends
        pool.join(timeout=deadline)
    _stop(pool)
