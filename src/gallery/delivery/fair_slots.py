"""A bounded number of slots for work. Those that wait are served in turns, one caller after another, so that a caller
with a hundred requests delays another caller's request by one piece of work only.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from gallery.errors import PicturesBusy

Waiter: TypeAlias = "asyncio.Future[None]"


class FairSlots:
    """`size` pieces of work at once; at most `max_waiting` more wait, of each caller at most a quarter of them."""

    def __init__(self, size: int, max_waiting: int) -> None:
        self._free = size
        self._max_waiting = max_waiting
        self._max_waiting_of_caller = max(1, max_waiting // 4)
        self._waiting: OrderedDict[str, deque[Waiter]] = OrderedDict()

    @property
    def waiting(self) -> int:
        return sum(len(waiters) for waiters in self._waiting.values())

    def has_room(self, caller: str) -> bool:
        """Whether the caller may have a slot now or wait for one."""
        waiting_of_caller = len(self._waiting.get(caller, ()))
        return self._free > 0 or (self.waiting < self._max_waiting and waiting_of_caller < self._max_waiting_of_caller)

    @asynccontextmanager
    async def hold(self, caller: str, max_wait: float) -> AsyncIterator[None]:
        """Holds a slot during the block, after waiting up to `max_wait` seconds for one. Raises `PicturesBusy`."""
        if not self.has_room(caller):
            raise PicturesBusy(waiting=self.waiting, caller=caller)
        if self._free:
            self._free -= 1
        else:
            try:
                async with asyncio.timeout(max_wait):
                    await self._wait(caller)
            except TimeoutError as error:
                raise PicturesBusy(waiting=self.waiting, caller=caller) from error
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, caller: str) -> None:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._leave(caller, waiter)
            else:  # it had the slot already
                self._pass_on()
            raise

    def _leave(self, caller: str, waiter: Waiter) -> None:
        waiters = self._waiting.get(caller)
        if waiters and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[caller]

    def _pass_on(self) -> None:
        """Gives the slot to the caller whose turn is next."""
        if not self._waiting:
            self._free += 1
            return
        caller, waiters = self._waiting.popitem(last=False)
        waiters.popleft().set_result(None)
        if waiters:
            self._waiting[caller] = waiters
