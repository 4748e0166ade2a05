"""Files that no other user of this machine may read: folders of mode 0700, files of 0600, whatever the umask says.

A folder that an earlier version has left open is closed at its top at once, which closes all that lies in it. The
modes inside follow in a walk that may take minutes; a marker in the folder tells that it is not finished.
"""

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

import structlog

from gallery.errors import CannotStart
from gallery.local_disk.durable import sync_folder

FOLDER = 0o700
PASSABLE = 0o711  # others may pass through to what is theirs, not look
OTHERS = 0o077
OTHERS_LOOK_OR_WRITE = 0o066
MARKER = ".closing"

log = structlog.get_logger(__name__)


def make(path: Path, mode: int = FOLDER) -> None:
    """A folder of that mode, where there is none; its missing parents can be passed through. Raises `OSError`."""
    for folder in reversed([each for each in (path, *path.parents) if not each.exists()]):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode if folder == path else PASSABLE)
        with suppress(PermissionError):  # a parent whose names this user may not list
            sync_folder(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def take(path: Path) -> None:
    """The folder at `path` with all that lies in it, made where missing. Raises `CannotStart`."""
    try:
        make(path)
        if is_open(path):
            (path / MARKER).touch(mode=0o600)
            close(path)
    except OSError as error:
        raise CannotStart(f"The object directory {path} cannot be used: {error.strerror or error}.") from error


def finish(path: Path) -> None:
    """Close the files of a folder that was found open, unless another process is at it. Raises `OSError`."""
    try:
        marker = os.open(path / MARKER, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        close_tree(path)
        (path / MARKER).unlink(missing_ok=True)
        log.info("private.closed", path=str(path))
    except BlockingIOError:
        return
    finally:
        os.close(marker)


def close_tree(path: Path) -> None:
    """Close a folder and all that lies in it."""
    close(path)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            close(Path(folder, name))


def close(path: Path, permissions: int = OTHERS) -> None:
    """Take `permissions` from a file or folder, where it has them. What a link leads to is left alone."""
    try:
        found = path.lstat()
        if found.st_mode & permissions and not stat.S_ISLNK(found.st_mode):
            path.chmod(stat.S_IMODE(found.st_mode) & ~permissions)
    except FileNotFoundError:
        return
    except OSError as error:  # another user's, or a file system that cannot be written
        log.warning("private.left_open", path=str(path), error=error.strerror)


def is_open(path: Path) -> bool:
    """Whether other users may look into the folder. One that all users share by its sticky bit is left so."""
    mode = path.stat().st_mode
    return bool(mode & OTHERS) and not mode & stat.S_ISVTX
