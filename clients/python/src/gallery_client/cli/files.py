"""Finds the pictures that a command line names: files, folders, globs, and those inside ZIP archives."""

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gallery_client.cli import archives
from gallery_client.sources import readable

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".avif", ".heic", ".heif"}  # inside folders and archives


class NothingFoundError(Exception):
    """There is no file of this name, and a glob finds none."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, or the `entry` of a ZIP archive at `path`, by its number in there.

    `version` changes with the content: the time of the last change in nanoseconds since 1970, of an entry its CRC.
    `problem` says why the file, the folder or the archive cannot be read.
    """

    path: Path
    size: int
    version: int
    entry: str = ""
    number: int = 0
    problem: str = ""

    @property
    def label(self) -> str:
        return readable(f"{self.path}:{self.entry}" if self.entry else str(self.path))

    @property
    def name(self) -> str:
        return readable(self.entry.replace("\\", "/").rpartition("/")[2] if self.entry else self.path.name)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Raises `OSError`, also in the block, for an archive that is damaged."""
        if self.problem:
            raise OSError(self.problem)
        if self.entry:
            with archives.open_entry(self.path, self.entry, self.number, self.version) as file:
                yield file
            return
        with self.path.open("rb") as file:
            yield file

    def unchanged(self) -> bool:
        """Whether the file is still the one that was found."""
        return next(_file(self.path), None) == self


def find_files(names: Iterable[str]) -> Iterator[FoundFile]:
    """Each file once, in the order of the names. Raises `NothingFoundError`."""
    seen = set()
    for name in names:
        for file in _find(name):
            if file not in seen:
                seen.add(file)
                yield file


def _find(name: str) -> Iterator[FoundFile]:
    paths = [Path(name)]
    if not os.path.lexists(name) and glob.has_magic(name):
        paths = [Path(found) for found in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207  absolute ones, too
    if not paths or not os.path.lexists(paths[0]):
        raise NothingFoundError(f"there is no {name}")
    for path in paths:
        if path.is_dir():
            yield from _folder(path)
        elif path.suffix.lower() == ".zip":
            yield from _archive(path)
        else:
            yield from _file(path)


def _folder(folder: Path) -> Iterator[FoundFile]:
    """Links to files are followed, those to folders are not: they may lead in circles."""
    failed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=failed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                yield from _file(path)
    for error in failed:
        yield _unreadable(Path(error.filename), error)


def _archive(path: Path) -> Iterator[FoundFile]:
    try:
        entries = archives.entries(path)
    except OSError as error:
        yield _unreadable(path, error)
        return
    for number, entry in enumerate(entries):
        parts = entry.filename.replace("\\", "/").split("/")
        hidden = any(part.startswith((".", "__MACOSX")) and part not in {".", ".."} for part in parts)
        if not entry.is_dir() and not hidden and Path(parts[-1]).suffix.lower() in SUFFIXES:
            yield FoundFile(path.absolute(), entry.file_size, entry.CRC, entry.filename, number)


def _file(path: Path) -> Iterator[FoundFile]:
    """Nothing, if it has gone meanwhile."""
    try:
        found = path.stat()
    except OSError as error:
        if path.is_symlink() or not isinstance(error, FileNotFoundError):
            yield _unreadable(path, error)
        return
    if stat.S_ISREG(found.st_mode):
        yield FoundFile(path.absolute(), found.st_size, found.st_mtime_ns)
    else:
        yield _unreadable(path, OSError("not a regular file"))


def _unreadable(path: Path, error: OSError) -> FoundFile:
    """With a version, so that one that has changed is looked at again."""
    try:
        version = path.lstat().st_mtime_ns
    except OSError:
        version = 0
    return FoundFile(path.absolute(), 0, version, problem=error.strerror or str(error))
