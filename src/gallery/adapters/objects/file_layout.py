"""The paths of the files in a directory that holds objects, and how their names reach the disk."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from gallery.local_disk.durable import sync_folder

S = TypeVar("S")
T = TypeVar("T")

SYNC_THREADS = 16


class FileLayout:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._syncers = ThreadPoolExecutor(SYNC_THREADS, "files-sync")
        self._synced_folders = {root}  # their names have reached the disk

    def path(self, key: str) -> Path:
        """Raises `ValueError` for an invalid key: it would lead outside the store, or to files that are not objects."""
        parts = key.split("/")
        if "\0" in key or any(not part or part.startswith(".") for part in parts):
            raise ValueError(f"{key!r} is not a valid object key.")
        return self.root.joinpath(*parts)

    def hidden_folder(self, path: Path, name: str) -> Path:
        """The folder `name` of the first part of a key, which lies in the same file system as its objects."""
        first, *more = path.relative_to(self.root).parts
        return self.root / first / name if more else self.root / name

    def hidden_files(self, name: str) -> list[Path]:
        """All files in all folders `name`."""
        return [*self.root.glob(f"{name}/*"), *self.root.glob(f"*/{name}/*")]

    def sync_folders(self, folders: set[Path]) -> None:
        """Sync the folders, and the parents of those that may be new, so that their names survive a power cut."""
        wanted = set(folders)
        while folders := {folder.parent for folder in folders if folder not in self._synced_folders}:
            wanted |= folders
        self.map_syncs(sync_folder, list(wanted))
        self._synced_folders |= {folder for folder in wanted if folder.parent == self.root}

    def map_syncs(self, sync: Callable[[S], None], items: Sequence[S]) -> None:
        """In parallel: the file system writes its journal once for all of them."""
        if len(items) == 1:
            sync(items[0])
        else:
            list(self._syncers.map(sync, items))


async def run_in(threads: Executor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)
