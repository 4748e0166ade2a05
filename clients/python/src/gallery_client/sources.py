"""The bytes of an upload, from a path, from memory or from an open file."""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

Photo: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
BLOCK_BYTES = 256 * 1024
MEMORY_BYTES = 8 * 1024 * 1024


class Source:
    """An open file from its present position to its end: `size` in bytes, `name` without a folder, `sha256` in hex."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._start = file.tell()
        self.size = file.seek(0, os.SEEK_END) - self._start
        self.name = name
        self.sha256 = self._hash()

    def blocks(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` until before `end`. Raises `OSError` if the file has become shorter."""
        while start < end:
            self._file.seek(self._start + start)
            block = self._file.read(min(BLOCK_BYTES, end - start))
            if not block:
                raise OSError(f"{self.name} has become shorter while it was uploaded")
            start += len(block)
            yield block

    def read(self) -> bytes:
        """All of it."""
        return b"".join(self.blocks(0, self.size))

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for block in self.blocks(0, self.size):
            digest.update(block)
        return digest.hexdigest()


@contextmanager
def open_source(photo: Photo) -> Iterator[Source]:
    """Reads the photo once, for its hash. A file that cannot go back is copied, beyond 8 MiB to the disk."""
    with ExitStack() as stack:
        if isinstance(photo, bytes):
            yield Source(io.BytesIO(photo), "Untitled")
        elif isinstance(photo, str | os.PathLike):
            path = Path(photo)
            yield Source(stack.enter_context(path.open("rb")), path.name)
        elif photo.seekable():
            yield Source(photo, _name(photo))
        else:
            copy = stack.enter_context(tempfile.SpooledTemporaryFile(MEMORY_BYTES))
            shutil.copyfileobj(photo, copy)
            copy.seek(0)
            yield Source(copy, _name(photo))  # type: ignore[arg-type]  # it has all methods of a file


def _name(file: BinaryIO) -> str:
    name = getattr(file, "name", None)
    return Path(name).name if isinstance(name, str) else "Untitled"
