"""Background tasks that end together with a block of code.

One cancellation is not always enough. A library may take it for its own time-out, and `asyncio.wait_for` before Python
3.12 drops it when a result arrives in the same iteration of the event loop
(github.com/python/cpython/issues/86296). A task that has lost its cancellation would keep its process from ending.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

RECANCEL_SECONDS = 2.0  # before a task is cancelled once more; longer than cleaning up takes


@asynccontextmanager
async def run_in_background(work: Coroutine[Any, Any, object], name: str) -> AsyncIterator[None]:
    """Runs `work` during the block, and ends it with the block. A failure of `work` is logged when it happens."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_log_failure)
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def gather(steps: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of `steps`, in their order. The first failure cancels the others and is raised as it is."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancel_and_wait(*tasks)


async def cancel_and_wait(*tasks: "asyncio.Future[Any]") -> None:
    """Cancels the unfinished tasks, repeatedly if needed, and waits until all have ended. Ignores their errors."""
    late = {task for task in tasks if not task.done()}
    while late:
        for task in late:
            task.cancel()
        _, late = await asyncio.wait(late, timeout=RECANCEL_SECONDS)
    for task in tasks:
        _failure(task)  # marks the error as retrieved, so that asyncio does not log it


def _log_failure(task: "asyncio.Task[Any]") -> None:
    if error := _failure(task):
        log.error("background.failed", task=task.get_name(), exc_info=error)


def _failure(task: "asyncio.Future[Any]") -> BaseException | None:
    return None if task.cancelled() else task.exception()
