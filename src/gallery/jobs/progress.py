"""How far a job is: whoever works says so with `at`, and operators see it. It goes along with the task, as the log's
context does; outside of a job nobody listens.
"""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeAlias

from msgspec import Struct


class Progress(Struct, frozen=True):
    """What is being done, and which part of the whole is behind us, in percent."""

    stage: str
    percent: int


Report: TypeAlias = Callable[[Progress], Awaitable[None]]


async def _unheard(_: Progress) -> None:
    """Nobody listens."""


report: ContextVar[Report] = ContextVar("report", default=_unheard)


async def at(stage: str, percent: int) -> None:
    await report.get()(Progress(stage, percent))
