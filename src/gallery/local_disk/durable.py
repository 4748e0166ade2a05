"""Files that survive a power cut: written under another name, synced, moved to the final one, the folder synced.

A name is an entry of its folder, and a new folder one of its parent: each new one has to be synced by itself.
"""

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gallery.local_disk.space import DISK_FULL_ERRNOS

BLOCK_BYTES = 1024 * 1024
KERNEL_COPY_BYTES = 64 * BLOCK_BYTES  # in one call
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


class UnnamedFile(io.BufferedRandom):
    """A file that has no name yet, in the file system where it may get one. It vanishes with its process."""

    def __init__(self, folder: Path) -> None:
        """Raises `OSError` where the file system has no such files."""
        super().__init__(io.FileIO(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "r+"))


class UnnamedDescriptor(FileDescriptor):
    """The descriptor of an `UnnamedFile`."""


class Spool(NamedTuple):
    """A written file that has to be synced and linked to its final name; `path` is its temporary name, if any."""

    file: FileDescriptor
    path: Path | None

    def sync(self) -> None:
        os.fsync(self.file.fd)

    def link(self, target: Path) -> None:
        """Give it its final name, in a folder that is created if missing. Raises `FileExistsError`."""
        for _ in range(MAX_LINK_TRIES):
            with suppress(FileNotFoundError):
                make_folder(target.parent)
                if self.path is not None:
                    os.link(self.path, target)
                else:  # see linkat(2), AT_SYMLINK_FOLLOW; Python passes the flag only with a descriptor
                    source = f"/proc/self/fd/{self.file.fd}"
                    os.link(source, target, src_dir_fd=self.file.fd, follow_symlinks=True)
                return
        raise OSError(errno.ESTALE, "the spooled file is gone", str(self.path))


@contextmanager
def spooled(folder: Path, content: bytes | Path | FileDescriptor) -> Iterator[Spool]:
    """A file in `folder` with that content; removed at the end of the block under its temporary name.

    An unnamed file is that file itself, without a copy.
    """
    if isinstance(content, UnnamedDescriptor):
        yield Spool(content, None)
        content.close()
        return
    make_folder(folder)
    path = folder / secrets.token_hex(16)
    spool = Spool(FileDescriptor(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)), path)
    try:
        for block in _read_blocks(content):
            _write(spool.file.fd, block)
        yield spool
    finally:
        spool.file.close()
        path.unlink(missing_ok=True)


def can_link_unnamed(folder: Path) -> bool:
    """Whether a file that is made without a name can be linked into `folder`: not on NFS, nor without /proc.

    Raises `OSError` for a full disk.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    trial = folder / secrets.token_hex(16)
    try:
        with UnnamedFile(folder) as file:
            Spool(FileDescriptor(os.dup(file.fileno())), None).link(trial)
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise
        return False
    trial.unlink()
    return True


def make_folder(folder: Path) -> None:
    """Create a private folder, and its missing parents."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def size_of(content: bytes | Path | FileDescriptor) -> int:
    """In bytes."""
    if isinstance(content, bytes):
        return len(content)
    return (content.stat() if isinstance(content, Path) else os.fstat(content.fd)).st_size


def copy_at(target: int, start: int, content: bytes | Path | FileDescriptor) -> int:
    """Write `content` into an open file at the offset `start`. Returns its size; closes it.

    Between two files, the kernel copies; where it cannot, or stops, this process does.
    """
    if isinstance(content, bytes):
        _write_at(target, start, content)
        return len(content)
    source = FileDescriptor(os.open(content, os.O_RDONLY)) if isinstance(content, Path) else content
    copied = _copy_in_kernel(source.fd, target, start)
    while block := os.pread(source.fd, BLOCK_BYTES, copied):
        _write_at(target, start + copied, block)
        copied += len(block)
    source.close()
    return copied


def is_at(target: int, start: int, content: bytes | Path | FileDescriptor) -> bool:
    """Whether an open file has `content` at the offset `start`. Does not close it."""
    for block in _read_blocks(content):
        if os.pread(target, len(block), start) != block:
            return False
        start += len(block)
    return True


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


def _write(descriptor: int, block: bytes | memoryview) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _write_at(descriptor: int, start: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        written = os.pwrite(descriptor, rest, start)
        start, rest = start + written, rest[written:]


def _copy_in_kernel(source: int, target: int, start: int) -> int:
    """Copies as much as the kernel can. Returns the number of bytes, possibly 0. Raises `OSError` for a full disk."""
    copied = 0
    if not hasattr(os, "copy_file_range"):
        return copied
    try:
        while block := os.copy_file_range(source, target, KERNEL_COPY_BYTES, copied, start + copied):
            copied += block
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise
    return copied
