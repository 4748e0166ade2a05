"""Tasks that run beside something, and end with it.

One cancellation is not always enough. A library may take it for a time-out of its own, and `asyncio.wait_for` before
Python 3.12 returns its result instead when both come in the same turn of the loop
(github.com/python/cpython/issues/86296). A loop that has lost its cancellation goes on for ever, and with it the
process that waits for its end.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")

RECANCEL_SECONDS = 2.0  # seconds until who has not ended is cancelled once more; longer than cleaning up takes


@asynccontextmanager
async def run_in_background(work: Coroutine[Any, Any, object], name: str) -> AsyncIterator[None]:
    """Do `work` while the block runs; it has ended when the block has. That it fails is logged when it does."""
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
    """Cancel those that are not done, as often as it takes, and wait until all have ended, however they do."""
    late = {task for task in tasks if not task.done()}
    while late:
        for task in late:
            task.cancel()
        _, late = await asyncio.wait(late, timeout=RECANCEL_SECONDS)
    for task in tasks:
        _failure(task)  # who does not ask for it does not want it told either


def _log_failure(task: "asyncio.Task[Any]") -> None:
    if error := _failure(task):
        log.error("background.failed", task=task.get_name(), exc_info=error)


def _failure(task: "asyncio.Future[Any]") -> BaseException | None:
    return None if task.cancelled() else task.exception()
