"""Bytes that a process may hold at once for what it sends; the rest waits where it is, on its disk."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def acquire(self, size: int) -> AsyncIterator[None]:
        """That many bytes, or all there are, until the end of the block. First come, first served."""
        size = min(size, self._max_bytes)
        if self._waiters or self._used_bytes + size > self._max_bytes:
            await self._wait(size)
        else:
            self._used_bytes += size
        try:
            yield
        finally:
            self._used_bytes -= size
            self._wake_waiters()

    async def _wait(self, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the bytes were given in the same moment
                self._used_bytes -= size
            turn.cancel()
            self._wake_waiters()
            raise

    def _wake_waiters(self) -> None:
        while self._waiters:
            size, turn = self._waiters[0]
            if not turn.done():
                if self._used_bytes + size > self._max_bytes:
                    return
                self._used_bytes += size
                turn.set_result(None)
            self._waiters.popleft()
