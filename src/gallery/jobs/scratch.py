"""Room for files that go with their process; what a killed one left goes at the next start.

Each directory is locked (`flock`) for as long as its process lives, however that ends. A process id would not tell: in
a container it is always the same one, and two containers that share a volume have it both.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gallery.errors import FileGone, in_words

WORK = "gallery-scratch-"  # not as before there were locks: a version from then, which has none, may still be at work
METRICS = "gallery-metrics-"


@contextmanager
def open_scratch(prefix: str = WORK) -> Iterator[Path]:
    """A private directory of this process."""
    _remove_what_was_left(prefix)
    folder, held = _make(prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


@contextmanager
def a_folder(scratch: Path) -> Iterator[Path]:
    """For one piece of work. A renderer that is being killed may still write into it: then the rest goes at the end.

    Raises `FileGone` when somebody has removed `scratch`.
    """
    try:
        folder = Path(tempfile.mkdtemp(dir=scratch))
    except FileNotFoundError as error:
        raise FileGone(cause=in_words(error)) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(prefix: str) -> tuple[Path, int]:
    """A new directory and what holds it; another one where somebody was tidying up before we held it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix))
        held = _hold(folder)
        if held is not None and folder.exists():
            return folder, held
        if held is not None:
            os.close(held)


def _hold(folder: Path) -> int | None:
    """The lock of a directory, if nobody has it."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # it is gone, or somebody else's
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return None
    return held


def _remove_what_was_left(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        held = _hold(folder)
        if held is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)
