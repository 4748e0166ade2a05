"""A limit on the bytes that one process holds in memory while it sends them; the rest waits on disk."""

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
        """Hold `size` bytes of the budget (at most all of it) until the block ends. First come, first served."""
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
        grant: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, grant))
        try:
            await grant
        except asyncio.CancelledError:
            if grant.done() and not grant.cancelled():  # granted in the same moment
                self._used_bytes -= size
            grant.cancel()
            self._wake_waiters()
            raise

    def _wake_waiters(self) -> None:
        while self._waiters:
            size, grant = self._waiters[0]
            if not grant.done():
                if self._used_bytes + size > self._max_bytes:
                    return
                self._used_bytes += size
                grant.set_result(None)
            self._waiters.popleft()
