"""Finds the pictures that a command line names: files, folders, globs, and those inside ZIP archives."""

import glob
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".png", ".gif", ".webp", ".avif", ".heic", ".heif"}  # inside folders and archives


@dataclass(frozen=True)
class FoundFile:
    """A file, or the `entry` of a ZIP archive at `path`. `version` changes with its content."""

    path: Path
    entry: str
    size: int
    version: int

    @property
    def label(self) -> str:
        return f"{self.path}:{self.entry}" if self.entry else str(self.path)

    @property
    def name(self) -> str:
        return Path(self.entry).name if self.entry else self.path.name

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        if not self.entry:
            with self.path.open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(self.entry) as file:
            yield file  # type: ignore[misc]  # it reads and seeks as any other

    def unchanged(self) -> bool:
        """Whether the file is still the one that was found."""
        return next(_file(self.path), None) == self


def find_files(names: Iterable[str]) -> Iterator[FoundFile]:
    """Each file once, in the order of the names. Raises `FileNotFoundError`, `zipfile.BadZipFile`."""
    seen = set()
    for name in names:
        for file in _find(name):
            if file not in seen:
                seen.add(file)
                yield file


def _find(name: str) -> Iterator[FoundFile]:
    paths = [Path(name)]
    if not paths[0].exists() and glob.has_magic(name):
        paths = [Path(found) for found in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207  absolute ones, too
    if not paths or not paths[0].exists():
        raise FileNotFoundError(f"there is no {name}")
    for path in paths:
        yield from _folder(path) if path.is_dir() else _archive_or_file(path)


def _folder(folder: Path) -> Iterator[FoundFile]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                yield from _file(path)


def _archive_or_file(path: Path) -> Iterator[FoundFile]:
    if path.suffix.lower() != ".zip":
        yield from _file(path)
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = Path(entry.filename)
            hidden = any(part.startswith((".", "__MACOSX")) for part in name.parts)
            if not entry.is_dir() and not hidden and name.suffix.lower() in SUFFIXES:
                yield FoundFile(path.absolute(), entry.filename, entry.file_size, entry.CRC)


def _file(path: Path) -> Iterator[FoundFile]:
    """Nothing, if it has gone meanwhile."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    yield FoundFile(path.absolute(), "", found.st_size, found.st_mtime_ns)
