"""Checks of keys that processes cache: each holds for `CACHE_SECONDS`, and is renewed before if the key is in use.

So a revocation takes effect `CACHE_SECONDS` later at most, and no request with a key in use waits for its check.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import structlog

from gallery.errors import describe_error

log = structlog.get_logger(__name__)

CACHE_SECONDS = 2.0
RENEW_SECONDS = 1.0  # the age from which a use of the key renews its check

T = TypeVar("T")


class CheckedKeys(Protocol):
    """Keys of one kind."""

    def checked_until(self, key_id: str) -> float:
        """Until when (`time.monotonic`) the key needs no other query; in the past for a key that is not valid.

        It counts as a use of the key.
        """

    async def is_valid(self, key_id: str) -> bool:
        """Raises `DatabaseUnavailable`."""


class KeyCheck(NamedTuple):
    """A key on which a caller's credential depends."""

    keys: CheckedKeys
    key_id: str

    def holds(self, now: float) -> bool:
        """Whether the key was found valid so short a time ago that it may be used without a query."""
        return now < self.keys.checked_until(self.key_id)

    async def repeat(self) -> bool:
        """Whether the key is valid. Raises `DatabaseUnavailable`."""
        return await self.keys.is_valid(self.key_id)


class KeyReads(Generic[T]):
    """Reads of keys by name, of which each runs once at a time: calls that come meanwhile get the same result."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[T]] = {}

    async def read(self, name: str, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `read`. Raises as it does."""
        return await asyncio.shield(self._start(name, read))

    def renew(self, name: str, read_at: float, read: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Read again in the background if the last read, of `read_at` (`time.monotonic`), is soon too old.

        A failure shows when a request has to wait for the next read.
        """
        if time.monotonic() - read_at >= RENEW_SECONDS:
            self._start(name, read)

    def _start(self, name: str, read: Callable[[], Coroutine[Any, Any, T]]) -> "asyncio.Task[T]":
        if name not in self._tasks:
            self._tasks[name] = asyncio.create_task(read(), name="key check")
            self._tasks[name].add_done_callback(lambda task: self._end(name, task))
        return self._tasks[name]

    def _end(self, name: str, task: "asyncio.Task[T]") -> None:
        del self._tasks[name]
        if not task.cancelled() and (error := task.exception()):
            log.debug("key.not_checked", error=describe_error(error))
