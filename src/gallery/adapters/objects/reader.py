"""A file over an object in the store, for code that reads a few bytes here and there."""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER_BYTES = 64 * 1024

ReadRange = Callable[[int, int], Awaitable[bytes]]  # from, to before


class RangeReader(io.RawIOBase):
    """Reads ranges on the event loop that was running when it was made; its methods are called in other threads."""

    def __init__(self, read_range: ReadRange, size: int) -> None:
        self._read_range = read_range
        self._size = size
        self._position = 0
        self._loop = asyncio.get_running_loop()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"{origin + offset} is before the beginning.")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Raises the store's errors."""
        target = memoryview(buffer).cast("B")
        end = min(self._position + len(target), self._size)
        if self._position >= end:
            return 0
        block = asyncio.run_coroutine_threadsafe(self._read(end), self._loop).result()
        target[: len(block)] = block
        self._position += len(block)
        return len(block)

    async def _read(self, end: int) -> bytes:
        return await self._read_range(self._position, end)


def buffered_reader(read_range: ReadRange, size: int) -> BinaryIO:
    return io.BufferedReader(RangeReader(read_range, size), BUFFER_BYTES)
