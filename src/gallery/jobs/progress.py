"""The progress of a job: its code calls `report`, and operators see it. The reporter belongs to the job's task, as the
log's context does; outside of a job, `report` does nothing. No job waits for the sending of its progress.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TypeAlias

from msgspec import Struct


class Progress(Struct, frozen=True):
    """The current stage of a job, and the finished part in percent."""

    stage: str
    percent: int


ProgressReporter: TypeAlias = Callable[[Progress], None]


def _ignore(_: Progress) -> None:
    """The reporter outside of a job."""


reporter: ContextVar[ProgressReporter] = ContextVar("report", default=_ignore)


def report(stage: str, percent: int) -> None:
    reporter.get()(Progress(stage, percent))


class ProgressSender:
    """Sends the newest progress of one job by `send`; progress that is older than what waits to be sent is dropped."""

    def __init__(self, send: Callable[[Progress], Awaitable[None]]) -> None:
        self._send = send
        self._newest: Progress | None = None
        self._changed = asyncio.Event()

    def report(self, state: Progress) -> None:
        self._newest = state
        self._changed.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._newest is not None:
                await self._send(self._newest)
