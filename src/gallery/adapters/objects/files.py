"""Objects as files in a directory. A put that has returned survives a power cut, as the commit does that follows it.

A file is written into the folder `.spool` of its key's first part, which lies in the same file system, and linked to
its place: a link overwrites nothing. Nothing here blocks the event loop.
"""

import asyncio
import io
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

from gallery.adapters.objects.content import CHUNK, Content, Found, Put, measure
from gallery.local_disk import private
from gallery.local_disk.durable import Descriptor, Spool, link, spooled, sync_folder

S = TypeVar("S")
T = TypeVar("T")

SPOOL = ".spool"
ABANDONED = 3600.0  # seconds after which a spooled file is no put's any more
BLOCK = CHUNK // 4  # read at once
LISTED = 1000  # objects in one batch
READERS = WRITERS = 16  # threads; those that wait for the disk to sync must not keep readers waiting
UNFINISHED = "#"  # in the name of what the library before has left half written


class Files:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._writers = ThreadPoolExecutor(WRITERS, "files-write")
        self._syncers = ThreadPoolExecutor(WRITERS, "files-sync")
        self._readers = ThreadPoolExecutor(READERS, "files-read")
        self._lasting = {root}  # folders whose names have reached the disk

    @property
    def place(self) -> str:
        return f"the directory {self._root}"

    async def put(self, puts: Sequence[Put]) -> set[str]:
        """Store each under its key. Returns the keys that are taken."""
        files = [(self._path(put.key), _readable(put.content)) for put in puts]
        taken = await _in(self._writers, lambda: self._put(files))
        return {put.key for put, (path, _) in zip(puts, files, strict=True) if path in taken}

    async def replace(self, key: str, content: bytes) -> None:
        """Store it under its key, whatever was there."""
        path = self._path(key)
        await _in(self._writers, lambda: self._replace(path, content))

    async def open(self, key: str, start: int, end: int | None) -> tuple[int, AsyncIterator[bytes]]:
        """The size of the whole, and the bytes from `start` until before `end`."""
        path = self._path(key)
        size, first, rest = await _in(self._readers, lambda: _open(path, start, end))
        return size, self._chunks(first, rest)

    async def size(self, key: str) -> int:
        path = self._path(key)
        return await _in(self._readers, lambda: _status(path.stat()).st_size)

    async def list(self, prefix: str) -> AsyncIterator[list[Found]]:
        found = self._walk(self._path(prefix.rstrip("/")) if prefix else self._root)
        while batch := await _in(self._readers, lambda: list(islice(found, LISTED))):
            yield batch

    async def delete(self, keys: Sequence[str]) -> None:
        """With the folders that are empty then; what is not there is fine."""
        paths = [self._path(key) for key in keys]
        await _in(self._writers, lambda: self._delete(paths))

    async def sign(self, key: str, expires: timedelta) -> None:
        """There is no server of its own that could answer."""

    async def tidy(self) -> None:
        await _in(self._writers, self._tidy)

    async def _chunks(self, first: bytes, rest: "_Rest | None") -> AsyncIterator[bytes]:
        if first:
            yield first
        while rest is not None and (chunk := await _in(self._readers, rest.read)):
            yield chunk

    def _path(self, key: str) -> Path:
        """Raises `ValueError` for what is no key: it would lead elsewhere, or to files that are not objects."""
        parts = key.split("/")
        if "\0" in key or any(not part or part.startswith(".") for part in parts):
            raise ValueError(f"{key!r} is no key of an object.")
        return self._root.joinpath(*parts)

    def _spool(self, path: Path) -> Path:
        first, *more = path.relative_to(self._root).parts
        return self._root / first / SPOOL if more else self._root / SPOOL

    def _put(self, files: Sequence[tuple[Path, bytes | Path | Descriptor]]) -> set[Path]:
        """All are synced before the first gets its name, so that one sync of a folder is enough for all in it."""
        taken = {path for path, _ in files if path.exists()}
        with ExitStack() as stack:
            spools = [
                (stack.enter_context(spooled(self._spool(path), content)), path)
                for path, content in files
                if path not in taken
            ]
            self._each(Spool.sync, [spool for spool, _ in spools])
            for spool, path in spools:
                try:
                    link(spool.path, path)
                except FileExistsError:
                    taken.add(path)
            self._sync({path.parent for path, _ in files})
        return taken

    def _replace(self, path: Path, content: bytes) -> None:
        with spooled(self._spool(path), content) as spool:
            spool.sync()
            spool.path.replace(path)
            self._sync({path.parent})

    def _sync(self, folders: set[Path]) -> None:
        """Have the folders' own names reach the disk too, as far as they may be new."""
        wanted = set(folders)
        while folders := {folder.parent for folder in folders if folder not in self._lasting}:
            wanted |= folders
        self._each(sync_folder, list(wanted))
        self._lasting |= {folder for folder in wanted if folder.parent == self._root}

    def _each(self, sync: Callable[[S], None], items: Sequence[S]) -> None:
        """Side by side: the file system writes its journal once for all of them."""
        if len(items) == 1:
            sync(items[0])
        else:
            list(self._syncers.map(sync, items))

    def _delete(self, paths: Sequence[Path]) -> None:
        changed = set()
        for path in paths:
            with suppress(FileNotFoundError):
                path.unlink()
                changed.add(self._remove_empty(path.parent))
        for folder in changed:
            with suppress(FileNotFoundError):  # another delete has found it empty meanwhile
                sync_folder(folder)

    def _remove_empty(self, folder: Path) -> Path:
        """The first folder upwards that stays: one that holds something, or that of a key's first part."""
        while self._root not in (folder, folder.parent):
            try:
                folder.rmdir()
            except OSError:
                break
            folder = folder.parent
        return folder

    def _walk(self, folder: Path) -> Iterator[Found]:
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if entry.name.startswith(".") or UNFINISHED in entry.name:
                    continue
                if entry.is_dir():
                    yield from self._walk(Path(entry))
                    continue
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    key = Path(entry).relative_to(self._root).as_posix()
                    yield Found(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def _tidy(self) -> None:
        """Remove what killed processes have left in their spools, and close what an earlier version left open."""
        private.finish(self._root)
        before = time.time() - ABANDONED
        for spool in [*self._root.glob(f"{SPOOL}/*"), *self._root.glob(f"*/{SPOOL}/*")]:
            with suppress(FileNotFoundError):
                if spool.stat().st_mtime < before:
                    spool.unlink()


class _Rest:
    """What is left to be read of a file that is open."""

    def __init__(self, source: Descriptor, position: int, end: int) -> None:
        self._source = source
        self._position = position
        self._end = end

    @property
    def more(self) -> bool:
        return self._position < self._end

    def read(self) -> bytes:
        block = os.pread(self._source.number, min(BLOCK, self._end - self._position), self._position)
        self._position += len(block)
        return block


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _open(path: Path, start: int, end: int | None) -> tuple[int, bytes, _Rest | None]:
    """The file's size and its first block; and what follows, unless that was all."""
    source = Descriptor(os.open(path, os.O_RDONLY))
    size = _status(os.fstat(source.number)).st_size
    rest = _Rest(source, start, size if end is None else min(end, size))
    first = rest.read()
    return size, first, rest if rest.more else None


def _status(found: os.stat_result) -> os.stat_result:
    """Raises `FileNotFoundError` for a folder, which is no object."""
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError
    return found


def _readable(content: Content) -> bytes | Path | Descriptor:
    """What a thread may still read when its sender has given up and closed its file."""
    if isinstance(content, bytes | Path):
        return content
    if measure(content) > CHUNK:
        with suppress(io.UnsupportedOperation):
            return Descriptor(os.dup(content.fileno()))
    return content.read()
