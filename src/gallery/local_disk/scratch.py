"""Files that are removed with their process; the next start removes those of a killed one.

Each directory is locked (`flock`) while its process is alive, however that ends. A process id would not do: in a
container it is always the same one, and two containers that share a volume have the same.
"""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from gallery.errors import FileGone, RendererFailed, describe_error

SCRATCH_PREFIX = "gallery-scratch-"  # a new name: an older version without locks may still be running
METRICS_PREFIX = "gallery-metrics-"


@contextmanager
def open_scratch(prefix: str = SCRATCH_PREFIX) -> Iterator[Path]:
    """A private directory of this process."""
    _remove_leftovers(prefix)
    folder, lock_fd = _make_locked(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock_fd)


@contextmanager
def work_folder(scratch: Path) -> Iterator[Path]:
    """A folder for one job, removed at its end. A renderer that is being killed may still write into it: the rest goes
    with `scratch`. Raises `FileGone` when `scratch` was removed.
    """
    try:
        folder = Path(tempfile.mkdtemp(dir=scratch))
    except FileNotFoundError as error:
        raise FileGone(cause=describe_error(error)) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def open_outputs(folder: Path, names: Iterable[str]) -> Iterator[list[IO[bytes]]]:
    """Open the files of these names that a renderer has made in a folder of this process, refusing anything but files.

    A link would lead to files that this process may read and a renderer may not. Raises `RendererFailed` for one, and
    `FileGone`.
    """
    with ExitStack() as stack:
        try:
            directory_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, directory_fd)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe must not block
            opened = (os.open(name, flags, dir_fd=directory_fd) for name in names)
            files: list[IO[bytes]] = [stack.enter_context(os.fdopen(fd, "rb")) for fd in opened]
        except FileNotFoundError as error:
            raise FileGone(cause=describe_error(error)) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO):
                raise RendererFailed(reason=describe_error(error)) from error
            raise
        if not all(stat.S_ISREG(os.fstat(file.fileno()).st_mode) for file in files):
            raise RendererFailed(reason="a rendition is not a file")
        yield files


def _make_locked(prefix: str) -> tuple[Path, int]:
    """A new directory and its lock; another one if a cleaning process removed it before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        lock_fd = _lock(folder)
        if lock_fd is not None and folder.exists():
            return folder, lock_fd
        if lock_fd is not None:
            os.close(lock_fd)


def _lock(folder: Path) -> int | None:
    """The lock of a directory, if it is free."""
    try:
        lock_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # it is gone, or another user's
        return None
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_fd)
        return None
    return lock_fd


def _remove_leftovers(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        lock_fd = _lock(folder)
        if lock_fd is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock_fd)
