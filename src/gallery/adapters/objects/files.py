"""Objects as files in a directory. When a put has returned, its file survives a power cut, as does the commit after it.

A file is written into the folder `.spool` of its key's first part, which lies in the same file system, and then linked
to its final path: a link overwrites nothing. No call blocks the event loop.
"""

import os
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from gallery.adapters.objects.content import CHUNK_BYTES, ObjectInfo, PutRequest, detached
from gallery.adapters.objects.file_layout import FileLayout, run_in
from gallery.adapters.objects.file_parts import FileParts
from gallery.local_disk import permissions
from gallery.local_disk.durable import (
    FileDescriptor,
    Spool,
    UnnamedFile,
    can_link_unnamed,
    make_folder,
    spooled,
    sync_folder,
)

SPOOL_FOLDER = ".spool"
ABANDONED_SECONDS = 3600.0  # after this time no put uses a spooled file any more
READ_BYTES = CHUNK_BYTES // 4
LIST_BATCH_SIZE = 1000  # objects
READER_THREADS = WRITER_THREADS = 16  # two pools: writers wait for disk syncs, and readers must not wait for writers
PARTIAL_MARK = "#"  # in the names of half-written files of the library used before


class FileBackend:
    def __init__(self, root: Path) -> None:
        self._layout = FileLayout(root)
        self._writers = ThreadPoolExecutor(WRITER_THREADS, "files-write")
        self._readers = ThreadPoolExecutor(READER_THREADS, "files-read")
        self.parts = FileParts(self._layout, self._writers, self._readers)
        self._links_unnamed: bool | None = None  # not known yet

    @property
    def location(self) -> str:
        return f"the directory {self._layout.root}"

    async def put(self, puts: Sequence[PutRequest]) -> set[str]:
        """Store each object under its key. Returns the keys that exist already."""
        files = [(self._layout.path(put.key), detached(put.content)) for put in puts]
        taken = await run_in(self._writers, lambda: self._put(files))
        return {put.key for put, (path, _) in zip(puts, files, strict=True) if path in taken}

    def temporary_file(self, key: str) -> BinaryIO:
        """Where files without a name can be linked, a put of this one under such a key copies nothing."""
        folder = self._layout.hidden_folder(self._layout.path(key), SPOOL_FOLDER)
        make_folder(folder)
        if self._links_unnamed is None:
            self._links_unnamed = can_link_unnamed(folder)
        return UnnamedFile(folder) if self._links_unnamed else TemporaryFile()

    async def replace(self, key: str, content: bytes) -> None:
        """Store `content` under `key`, over anything that is there."""
        path = self._layout.path(key)
        await run_in(self._writers, lambda: self._replace(path, content))

    async def open(self, key: str, start: int, end: int | None) -> tuple[int, AsyncIterator[bytes]]:
        """Returns the size of the whole object, and its bytes from `start` to before `end`."""
        path = self._layout.path(key)
        size, first, rest = await run_in(self._readers, lambda: _open(path, start, end))
        return size, self._chunks(first, rest)

    async def size(self, key: str) -> int:
        path = self._layout.path(key)
        return await run_in(self._readers, lambda: _require_file(path.stat()).st_size)

    async def list(self, prefix: str) -> AsyncIterator[list[ObjectInfo]]:
        found = self._walk(self._layout.path(prefix.rstrip("/")) if prefix else self._layout.root)
        while batch := await run_in(self._readers, lambda: list(islice(found, LIST_BATCH_SIZE))):
            yield batch

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete the objects and the folders that become empty; a missing object is no error."""
        paths = [self._layout.path(key) for key in keys]
        await run_in(self._writers, lambda: self._delete(paths))

    async def sign(self, key: str, expires: timedelta) -> None:
        """Returns `None`: files have no server that could serve a URL."""

    async def clean_up(self) -> None:
        await run_in(self._writers, self._clean_up)

    async def _chunks(self, first: bytes, rest: "_Remainder | None") -> AsyncIterator[bytes]:
        if first:
            yield first
        while rest is not None and (chunk := await run_in(self._readers, rest.read)):
            yield chunk

    def _put(self, files: Sequence[tuple[Path, bytes | Path | FileDescriptor]]) -> set[Path]:
        """All files are synced before the first is linked, so that each folder is synced only once."""
        taken = {path for path, _ in files if path.exists()}
        with ExitStack() as stack:
            spools = [
                (stack.enter_context(spooled(self._layout.hidden_folder(path, SPOOL_FOLDER), content)), path)
                for path, content in files
                if path not in taken
            ]
            self._layout.map_syncs(Spool.sync, [spool for spool, _ in spools])
            for spool, path in spools:
                try:
                    spool.link(path)
                except FileExistsError:
                    taken.add(path)
            self._layout.sync_folders({path.parent for path, _ in files})
        return taken

    def _replace(self, path: Path, content: bytes) -> None:
        with spooled(self._layout.hidden_folder(path, SPOOL_FOLDER), content) as spool:
            spool.sync()
            assert spool.path is not None  # noqa: S101  bytes are written into a named file
            spool.path.replace(path)
            self._layout.sync_folders({path.parent})

    def _delete(self, paths: Sequence[Path]) -> None:
        changed = set()
        for path in paths:
            with suppress(FileNotFoundError):
                path.unlink()
                changed.add(self._remove_empty(path.parent))
        for folder in changed:
            with suppress(FileNotFoundError):  # another delete has removed it meanwhile
                sync_folder(folder)

    def _remove_empty(self, folder: Path) -> Path:
        """Remove empty folders upwards. Returns the first that stays: not empty, or of a key's first part."""
        while self._layout.root not in (folder, folder.parent):
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent
        return folder

    def _walk(self, folder: Path) -> Iterator[ObjectInfo]:
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if entry.name.startswith(".") or PARTIAL_MARK in entry.name:
                    continue
                if entry.is_dir():
                    yield from self._walk(Path(entry))
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    key = Path(entry).relative_to(self._layout.root).as_posix()
                    yield ObjectInfo(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _clean_up(self) -> None:
        """Remove files left in the spools by killed processes, and restrict files that an earlier version left open."""
        permissions.finish_restricting(self._layout.root)
        self.parts.clean_up()
        before = time.time() - ABANDONED_SECONDS
        for spool in self._layout.hidden_files(SPOOL_FOLDER):
            with suppress(FileNotFoundError):
                if spool.stat().st_mtime < before:
                    spool.unlink()


class _Remainder:
    """The unread part of an open file."""

    def __init__(self, source: FileDescriptor, position: int, end: int) -> None:
        self._source = source
        self._position = position
        self._end = end

    @property
    def has_more(self) -> bool:
        return self._position < self._end

    def read(self) -> bytes:
        block = os.pread(self._source.fd, min(READ_BYTES, self._end - self._position), self._position)
        self._position += len(block)
        return block


def _open(path: Path, start: int, end: int | None) -> tuple[int, bytes, _Remainder | None]:
    """Returns the file's size, its first block and the rest, `None` if there is no more."""
    source = FileDescriptor(os.open(path, os.O_RDONLY))
    size = _require_file(os.fstat(source.fd)).st_size
    rest = _Remainder(source, start, size if end is None else min(end, size))
    first = rest.read()
    return size, first, rest if rest.has_more else None


def _require_file(found: os.stat_result) -> os.stat_result:
    """Raises `FileNotFoundError` for a folder, which is not an object."""
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError
    return found
