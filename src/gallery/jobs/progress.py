"""How far a job is: whoever works says so with `report`, and operators see it. It goes along with the task, as the
log's context does; outside of a job nobody listens.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeAlias

from msgspec import Struct


class Progress(Struct, frozen=True):
    """What is being done, and which part of the whole is behind us, in percent."""

    stage: str
    percent: int


ProgressReporter: TypeAlias = Callable[[Progress], Awaitable[None]]


async def _ignore(_: Progress) -> None:
    """Nobody listens."""


reporter: ContextVar[ProgressReporter] = ContextVar("report", default=_ignore)


async def report(stage: str, percent: int) -> None:
    await reporter.get()(Progress(stage, percent))
