"""Uploads in parts to a directory: one hidden file each, in which every part is written at its offset.

It lies in the folder `.uploads` of its key's first part, in the file system of the objects, and is linked to its final
path when it is complete. The journal beside it gets a line for each part that has reached the disk; a line that a
killed process has not finished does not count. Writers lock the journal, so they come one after the other.
"""

import asyncio
import fcntl
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from gallery.adapters.objects.content import DownloadHeaders, detached
from gallery.adapters.objects.file_layout import FileLayout, run_in
from gallery.adapters.objects.parts import StoredPart, UnfinishedUpload
from gallery.errors import PartsMissing
from gallery.local_disk.durable import FileDescriptor, Spool, copy_at, is_at, make_folder, size_of

T = TypeVar("T")

UPLOADS_FOLDER = ".uploads"
JOURNAL_SUFFIX = ".journal"
HANDLE_PATTERN = re.compile(r"([0-9a-f]{32})\.([0-9a-f]+)")  # the file's name and its inode
LIST_BATCH_SIZE = 1000  # uploads
LOCK_POLL_SECONDS = 0.02
ABANDONED_SECONDS = 3600.0  # after this time no process is still beginning an upload


class FileParts:
    min_part_bytes = 1
    max_parts = 100_000
    can_sign = False

    def __init__(self, layout: FileLayout, writers: ThreadPoolExecutor, readers: ThreadPoolExecutor) -> None:
        self._layout = layout
        self._writers = writers
        self._readers = readers

    async def begin(self, key: str, headers: DownloadHeaders | None) -> str:  # noqa: ARG002  kept in the row
        folder = self._folder(key)
        return await run_in(self._writers, lambda: self._begin(folder, key))

    async def put_part(self, key: str, handle: str, number: int, start: int, content: IO[bytes] | bytes) -> StoredPart:
        source, target = detached(content), self._layout.path(key)
        return await self._change(key, handle, lambda upload: upload.put_part(target, number, start, source))

    async def list_parts(self, key: str, handle: str) -> list[StoredPart]:
        folder = self._folder(key)
        return await run_in(self._readers, lambda: _list_whole(folder, handle))

    async def complete(self, key: str, handle: str, parts: Sequence[StoredPart]) -> None:
        target = self._layout.path(key)
        try:
            await self._change(key, handle, lambda upload: self._complete(upload, target, parts))
        except FileNotFoundError:  # completed before, or gone
            await run_in(self._readers, lambda: _check_completed(target, handle, parts))

    async def abort(self, key: str, handle: str) -> None:
        with suppress(FileNotFoundError):
            await self._change(key, handle, _Upload.remove)

    async def sign_part(self, key: str, handle: str, number: int, size: int, expires: timedelta) -> None:
        """Returns `None`: files have no server that could take a part."""

    async def list_unfinished(self, before: datetime) -> AsyncIterator[list[UnfinishedUpload]]:
        found = self._unfinished(before)
        while batch := await run_in(self._readers, lambda: list(islice(found, LIST_BATCH_SIZE))):
            yield batch

    def clean_up(self) -> None:
        """Remove the files of uploads whose beginning was interrupted, which no list shows. Blocks."""
        before = time.time() - ABANDONED_SECONDS
        files = set(self._layout.hidden_files(UPLOADS_FOLDER))
        begun = {path.name.partition(".")[0] for path in files if _read_beginning(path) is not None}
        for path in files:
            with suppress(FileNotFoundError):
                if path.name.partition(".")[0] not in begun and path.stat().st_mtime < before:
                    path.unlink()

    async def _change(self, key: str, handle: str, change: Callable[["_Upload"], T]) -> T:
        """Waits for its turn outside the threads, so that the writers of one upload cannot take all of them."""
        folder = self._folder(key)
        while True:
            try:
                return await run_in(self._writers, lambda: _change_locked(folder, handle, change))
            except BlockingIOError:
                await asyncio.sleep(LOCK_POLL_SECONDS)

    def _folder(self, key: str) -> Path:
        return self._layout.hidden_folder(self._layout.path(key), UPLOADS_FOLDER)

    def _begin(self, folder: Path, key: str) -> str:
        make_folder(folder)
        path = folder / secrets.token_hex(16)
        file = _create(path)
        handle = f"{path.name}.{os.fstat(file.fd).st_ino:x}"
        journal = _create(folder / f"{handle}{JOURNAL_SUFFIX}")
        _append(journal.fd, 0, _Beginning(key, datetime.now(UTC)))
        self._layout.sync_folders({folder})
        return handle

    def _complete(self, upload: "_Upload", target: Path, parts: Sequence[StoredPart]) -> None:
        if not upload.is_at(target):  # else a process was killed after this
            upload.finish(parts).link(target)
        self._layout.sync_folders({target.parent})
        upload.remove()

    def _unfinished(self, before: datetime) -> Iterator[UnfinishedUpload]:
        for path in self._layout.hidden_files(UPLOADS_FOLDER):
            beginning = _read_beginning(path)
            if beginning is not None and beginning.started_at < before:
                yield UnfinishedUpload(beginning.key, path.name.removesuffix(JOURNAL_SUFFIX), beginning.started_at)


class _Beginning(msgspec.Struct):
    """The first line of a journal."""

    key: str
    started_at: datetime


class _Upload:
    """The two open files of an upload. Raises `FileNotFoundError` if it is gone."""

    def __init__(self, folder: Path, handle: str) -> None:
        self._path = folder / _parse(handle)[0]
        self._journal_path = folder / f"{handle}{JOURNAL_SUFFIX}"
        self._journal = FileDescriptor(os.open(self._journal_path, os.O_RDWR))
        self._file = FileDescriptor(os.open(self._path, os.O_RDWR))

    def close(self) -> None:
        self._file.close()
        self._journal.close()

    def is_at(self, target: Path) -> bool:
        """Whether it has its final path already, so that nothing may be written any more."""
        return target.exists() and os.path.samestat(target.stat(), os.fstat(self._file.fd))

    def lock(self) -> None:
        """Lock it until it is closed. Raises `BlockingIOError` while another writer holds it."""
        fcntl.flock(self._journal.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(self._journal.fd).st_nlink == 0:
            raise FileNotFoundError

    def parts(self) -> dict[int, StoredPart]:
        """The whole parts by their numbers."""
        parts: dict[int, StoredPart] = {}
        for line in _lines(self._journal.fd)[1:]:
            match msgspec.json.decode(line, type=list[int]):
                case [number]:
                    parts.pop(number, None)
                case [number, start, size]:
                    parts[number] = StoredPart(number, start, size)
        return parts

    def put_part(self, target: Path, number: int, start: int, content: bytes | Path | FileDescriptor) -> StoredPart:
        """Raises `FileExistsError` for bytes that a later part has replaced: their writer was suspended meanwhile.

        A part that is put again as it is stays whole all the time: another client may just complete the upload.
        """
        if self.is_at(target):
            raise FileNotFoundError
        part = StoredPart(number, start, size_of(content))
        if self.parts().get(number) == part and is_at(self._file.fd, start, content):
            return part
        for other in self._overlapping(start, size_of(content)):
            if other.number > number:
                raise FileExistsError
            self._note(other.number)  # not whole while it is written over
        copy_at(self._file.fd, start, content)
        os.fsync(self._file.fd)
        self._note(*part[:3])
        return part

    def _overlapping(self, start: int, size: int) -> list[StoredPart]:
        return [part for part in self.parts().values() if part.start < start + size and start < part.start + part.size]

    def finish(self, parts: Sequence[StoredPart]) -> Spool:
        """Cut the file to the size of the parts and sync it. Raises `PartsMissing`."""
        whole = self.parts()
        missing = [str(part.number) for part in parts if whole.get(part.number) != part._replace(etag="")]
        if missing:
            raise PartsMissing(missing=f"the parts {', '.join(missing)}")
        os.ftruncate(self._file.fd, _total_size(parts))
        spool = Spool(self._file, self._path)
        spool.sync()
        return spool

    def remove(self) -> None:
        """The journal first: a file that is left without one is removed by `clean_up`."""
        self._journal_path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)

    def _note(self, *numbers: int) -> None:
        """Add a line after the last whole one."""
        _append(self._journal.fd, sum(map(len, _lines(self._journal.fd))), numbers)


def _change_locked(folder: Path, handle: str, change: Callable[[_Upload], T]) -> T:
    with closing(_Upload(folder, handle)) as upload:
        upload.lock()
        return change(upload)


def _list_whole(folder: Path, handle: str) -> list[StoredPart]:
    with closing(_Upload(folder, handle)) as upload:
        return sorted(upload.parts().values())


def _check_completed(target: Path, handle: str, parts: Sequence[StoredPart]) -> None:
    """Raises `FileNotFoundError` without an object at `target`, `FileExistsError` if it is not that upload's file."""
    found = target.stat()
    if (found.st_ino, found.st_size) != (_parse(handle)[1], _total_size(parts)):
        raise FileExistsError


def _parse(handle: str) -> tuple[str, int]:
    """The file's name and its inode. Raises `FileNotFoundError` for an invalid handle."""
    match = HANDLE_PATTERN.fullmatch(handle)
    if match is None:
        raise FileNotFoundError
    return match[1], int(match[2], 16)


def _total_size(parts: Sequence[StoredPart]) -> int:
    return sum(part.size for part in parts)


def _create(path: Path) -> FileDescriptor:
    return FileDescriptor(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _read_beginning(path: Path) -> _Beginning | None:
    """`None` if it is not a journal, or one without a whole first line, or gone."""
    if not path.name.endswith(JOURNAL_SUFFIX):
        return None
    try:
        with closing(FileDescriptor(os.open(path, os.O_RDONLY))) as journal:
            lines = _lines(journal.fd)
    except FileNotFoundError:
        return None
    return msgspec.json.decode(lines[0], type=_Beginning) if lines else None


def _lines(journal: int) -> list[bytes]:
    """The whole lines of a journal."""
    content = os.pread(journal, os.fstat(journal).st_size, 0)
    return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)


def _append(journal: int, end: int, entry: object) -> None:
    """Write a line at the offset `end`, over one that was not finished, and sync it."""
    os.ftruncate(journal, end)
    os.pwrite(journal, msgspec.json.encode(entry) + b"\n", end)
    os.fsync(journal)
