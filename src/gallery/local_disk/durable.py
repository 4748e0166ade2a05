"""Files that survive a power cut: written under another name, synced, moved to the final one, the folder synced.

A name is an entry of its folder, and a new folder one of its parent: each new one has to be synced by itself.
"""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

BLOCK_BYTES = 1024 * 1024
MAX_LINK_TRIES = 5  # another thread may remove the folder in between because it is empty


class FileDescriptor:
    """A file descriptor that is closed with its object, however the thread or task that used it ends."""

    def __init__(self, number: int) -> None:
        self.fd = number

    def close(self) -> None:
        number, self.fd = self.fd, -1
        if number >= 0:
            os.close(number)

    __del__ = close


class Spool(NamedTuple):
    """A written file that has to be synced and linked to its final name."""

    path: Path
    file: FileDescriptor

    def sync(self) -> None:
        os.fsync(self.file.fd)
        self.file.close()


@contextmanager
def spooled(folder: Path, content: bytes | Path | FileDescriptor) -> Iterator[Spool]:
    """A file in `folder` with that content; removed at the end of the block under its temporary name."""
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
    """Give a spooled file its final name, in a folder that is created if missing. Raises `FileExistsError`."""
    for _ in range(MAX_LINK_TRIES):
        with suppress(FileNotFoundError):
            make_folder(target.parent)
            os.link(spool, target)
            return
    raise OSError(errno.ESTALE, "the spooled file is gone", str(spool))


def make_folder(folder: Path) -> None:
    """Create a private folder, and its missing parents."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = FileDescriptor(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    os.fsync(descriptor.fd)
    descriptor.close()


def _read_blocks(content: bytes | Path | FileDescriptor) -> Iterator[bytes | memoryview]:
    if isinstance(content, bytes):
        yield content
        return
    source = FileDescriptor(os.open(content, os.O_RDONLY)) if isinstance(content, Path) else content
    position = 0
    while block := os.pread(source.fd, BLOCK_BYTES, position):
        yield block
        position += len(block)
    source.close()


def _write(descriptor: int, block: bytes | memoryview) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
