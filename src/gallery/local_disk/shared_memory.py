"""Memory that all processes of one user on this machine share, as a file that each of them maps.

The file is locked (`flock`) while a process uses it, however that process ends. A process that is alone with the file
fills it with zeros, so a killed process leaves nothing behind that counts, and the last one removes it. In a container
the memory is the container's own.
"""

import fcntl
import mmap
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  a file system in memory; its files have unique names and a checked owner
MAX_TRIES = 100  # the file may be removed between opening and locking it


@contextmanager
def open_shared_memory(name: str, size: int) -> Iterator[memoryview]:
    """Yields `size` bytes, zeros at first, shared by the processes of this user that open `name`. Raises `OSError`."""
    path = shared_memory_path(name)
    file = _open_locked(path, size)
    try:
        yield memoryview(mmap.mmap(file, size))  # unmapped with its last view
    finally:
        _remove_unless_used(path, file)
        os.close(file)


def shared_memory_path(name: str) -> Path:
    folder = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else Path(tempfile.gettempdir())
    return folder / f"gallery-{os.geteuid()}-{name}"


def _open_locked(path: Path, size: int) -> int:
    """The file with a shared lock, whole and still under its name."""
    for _ in range(MAX_TRIES):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            _check_owner(file)
            if _try_lock_alone(file):
                os.ftruncate(file, 0)
                _write_zeros(file, size)
            fcntl.flock(file, fcntl.LOCK_SH)  # the lock is free for a moment meanwhile, so the file is checked again
            if _is_at(path, file) and os.fstat(file).st_size == size:
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
    raise BlockingIOError("other processes keep replacing the file")


def _check_owner(file: int) -> None:
    """Raises `PermissionError` for a file that another user could have made."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o600:
        raise PermissionError("it is not a private file of this user")


def _write_zeros(file: int, size: int) -> None:
    """Written and not only truncated to `size`: a full file system says so here, and not by a signal later."""
    written = os.pwrite(file, bytes(size), 0)
    if written < size:
        raise OSError("the file system is full")


def _try_lock_alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _remove_unless_used(path: Path, file: int) -> None:
    if _try_lock_alone(file) and _is_at(path, file):
        path.unlink()
