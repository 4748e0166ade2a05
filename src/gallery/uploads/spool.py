"""Receives the bytes of a file: counted, hashed, and never whole in memory."""

import hashlib
import io
from collections.abc import Callable
from typing import BinaryIO

from gallery.errors import TooLarge

MAX_BYTES_IN_MEMORY = 256 * 1024


class Spool:
    """The bytes that have arrived; beyond `MAX_BYTES_IN_MEMORY` they are in a file from `make_file`."""

    def __init__(self, max_bytes: int, make_file: Callable[[], BinaryIO]) -> None:
        self.file: BinaryIO = io.BytesIO()
        self.size = 0
        self._max_bytes = max_bytes
        self._make_file = make_file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes | bytearray) -> None:
        """Raises `TooLarge`, and the errors of `make_file`."""
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise TooLarge(limit=self._max_bytes)
        self._digest.update(chunk)
        if self.size > MAX_BYTES_IN_MEMORY and isinstance(self.file, io.BytesIO):
            self._move_to_file(self.file)
        self.file.write(chunk)

    def close(self) -> None:
        """Leaves no file."""
        self.file.close()

    def _move_to_file(self, memory: io.BytesIO) -> None:
        self.file = self._make_file()
        self.file.write(memory.getvalue())
        memory.close()
