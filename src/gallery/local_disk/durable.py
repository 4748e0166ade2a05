"""Files that are still there after a power cut: written beside their place, synced, moved there, the folder synced.

A name is an entry of its folder, and a new folder one of its parent: whatever is new has to be synced on its own.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

BLOCK = 1024 * 1024  # bytes, read at once
MAX_LINK_TRIES = 5  # to link into a folder that another thread removes because it is empty


class FileDescriptor:
    """A file descriptor that is closed with its object, whatever becomes of the thread or the task that used it."""

    def __init__(self, number: int) -> None:
        self.fd = number

    def close(self) -> None:
        number, self.fd = self.fd, -1
        if number >= 0:
            os.close(number)

    __del__ = close


class Spool(NamedTuple):
    """A file that is written, and waits to be synced and to be given its name."""

    path: Path
    file: FileDescriptor

    def sync(self) -> None:
        os.fsync(self.file.fd)
        self.file.close()


@contextmanager
def spooled(folder: Path, content: bytes | Path | FileDescriptor) -> Iterator[Spool]:
    """A file in `folder` with that content; what is still there at the end of the block goes."""
    make_folder(folder)
    path = folder / secrets.token_hex(16)
    spool = Spool(path, FileDescriptor(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)))
    try:
        for block in _read_blocks(content):
            _write(spool.file.fd, block)
        yield spool
    finally:
        spool.file.close()
        path.unlink(missing_ok=True)


def link(spool: Path, target: Path) -> None:
    """Give a spooled file its name, in a folder that is made where missing. Raises `FileExistsError`."""
    for _ in range(MAX_LINK_TRIES):
        with suppress(FileNotFoundError):
            make_folder(target.parent)
            os.link(spool, target)
            return
    raise OSError(errno.ESTALE, "the spool has gone", str(spool))


def make_folder(folder: Path) -> None:
    """A folder that is private, as its parents that are missing."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk."""
    descriptor = FileDescriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    os.fsync(descriptor.fd)
    descriptor.close()


def _read_blocks(content: bytes | Path | FileDescriptor) -> Iterator[bytes | memoryview]:
    if isinstance(content, bytes):
        yield content
        return
    source = FileDescriptor(os.open(content, os.O_RDONLY)) if isinstance(content, Path) else content
    position = 0
    while block := os.pread(source.fd, BLOCK, position):
        yield block
        position += len(block)
    source.close()


def _write(descriptor: int, block: bytes | memoryview) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
