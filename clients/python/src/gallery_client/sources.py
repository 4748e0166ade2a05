"""The bytes of an upload, from a path, from memory or from an open file."""

import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

Photo: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
SURROGATES = re.compile("[\ud800-\udfff]")
BLOCK_BYTES = 256 * 1024
MEMORY_BYTES = 8 * 1024 * 1024


class Source:
    """An open file from its present position to its end: `size` in bytes, `name` without a folder, `sha256` in hex."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._start = file.tell()
        self.size: int = file.seek(0, os.SEEK_END) - self._start
        self.name: str = readable(name)
        self.sha256: str = self._hash()

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
            return
        file = stack.enter_context(Path(photo).open("rb")) if isinstance(photo, str | os.PathLike) else photo
        if file.seekable():
            yield Source(file, _name(file))
        else:
            copy = stack.enter_context(tempfile.SpooledTemporaryFile(MEMORY_BYTES))
            shutil.copyfileobj(file, copy)
            copy.seek(0)
            yield Source(copy, _name(file))  # type: ignore[arg-type]  # it has all methods of a file


def readable(name: str) -> str:
    """Names of files need not be Unicode: what is none of it is replaced."""
    return SURROGATES.sub("\ufffd", name)


def _name(file: BinaryIO) -> str:
    name = getattr(file, "name", None)
    return Path(name).name if isinstance(name, str) else "Untitled"
