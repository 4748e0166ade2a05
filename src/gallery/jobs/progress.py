"""The progress of a job: its code calls `report`, and operators see it. The reporter belongs to the job's task, as the
log's context does; outside of a job, `report` does nothing.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeAlias

from msgspec import Struct


class Progress(Struct, frozen=True):
    """The current stage of a job, and the finished part in percent."""

    stage: str
    percent: int


ProgressReporter: TypeAlias = Callable[[Progress], Awaitable[None]]


async def _ignore(_: Progress) -> None:
    """The reporter outside of a job."""


reporter: ContextVar[ProgressReporter] = ContextVar("report", default=_ignore)


async def report(stage: str, percent: int) -> None:
    await reporter.get()(Progress(stage, percent))
