"""Files that no other user of this machine may read: folders of mode 0700, files of 0600, under any umask.

A folder that an earlier version left open is closed at its top at once, which closes all of its content. The modes
inside follow in a walk that may take minutes; a marker file in the folder exists until that is finished.
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

FOLDER_MODE = 0o700
TRAVERSABLE_MODE = 0o711  # others may pass through to their own files, not list
OTHERS_PERMISSIONS = 0o077
OTHERS_READ_WRITE = 0o066
UNFINISHED_MARKER = ".closing"

log = structlog.get_logger(__name__)


def make_folder(path: Path, mode: int = FOLDER_MODE) -> None:
    """Create a folder of that mode if it is missing; new parents can be passed through. Raises `OSError`."""
    for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode if folder == path else TRAVERSABLE_MODE)
        with suppress(PermissionError):  # this user may not list the parent
            sync_folder(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def prepare_folder(path: Path) -> None:
    """The private folder at `path`, created if missing; its content is closed to others. Raises `CannotStart`."""
    try:
        make_folder(path)
        if is_accessible_to_others(path):
            (path / UNFINISHED_MARKER).touch(mode=0o600)
            restrict(path)
    except OSError as error:
        raise CannotStart(f"The object directory {path} cannot be used: {error.strerror or error}.") from error


def finish_restricting(path: Path) -> None:
    """Restrict the files of a folder that was found open, unless another process is doing it. Raises `OSError`."""
    try:
        marker = os.open(path / UNFINISHED_MARKER, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
        restrict_tree(path)
        (path / UNFINISHED_MARKER).unlink(missing_ok=True)
        log.info("private.closed", path=str(path))
    except BlockingIOError:
        return
    finally:
        os.close(marker)


def restrict_tree(path: Path) -> None:
    """Restrict a folder and all of its content."""
    restrict(path)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            restrict(Path(folder, name))


def restrict(path: Path, permissions: int = OTHERS_PERMISSIONS) -> None:
    """Remove `permissions` from a file or folder. A link's target is left alone."""
    try:
        found = path.lstat()
        if found.st_mode & permissions and not stat.S_ISLNK(found.st_mode):
            path.chmod(stat.S_IMODE(found.st_mode) & ~permissions)
    except FileNotFoundError:
        return
    except OSError as error:  # another user's file, or a read-only file system
        log.warning("private.left_open", path=str(path), error=error.strerror)


def is_accessible_to_others(path: Path) -> bool:
    """Whether other users may use the folder. One that is shared by its sticky bit counts as private."""
    mode = path.stat().st_mode
    return bool(mode & OTHERS_PERMISSIONS) and not mode & stat.S_ISVTX
