"""What the next run need not do again: the hashes of files, and the keys of uploads that were interrupted."""

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from gallery_client.cli.files import FoundFile

SCHEMA = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;  -- nothing waits for the disk, and a power failure damages nothing
    CREATE TABLE IF NOT EXISTS hash (
        path BLOB, entry TEXT, size INTEGER, version INTEGER, sha256 TEXT, PRIMARY KEY (path, entry)
    );
    CREATE TABLE IF NOT EXISTS resume (url TEXT, sha256 TEXT, fields TEXT, key TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (url, sha256, fields)
    );
    DELETE FROM resume WHERE at < datetime('now', '-23 hours');  -- the server knows a key for a day
"""
FIND = "SELECT sha256 FROM hash WHERE path = ? AND entry = ? AND size = ? AND version = ?"
KEEP = "INSERT OR REPLACE INTO hash VALUES (?, ?, ?, ?, ?)"
ADD_KEY = "INSERT OR IGNORE INTO resume (url, sha256, fields, key) VALUES (?, ?, ?, ?)"
FIND_KEY = "SELECT key FROM resume WHERE url = ? AND sha256 = ? AND fields = ?"
REMOVE_KEY = "DELETE FROM resume WHERE url = ? AND sha256 = ? AND fields = ?"
UNCERTAIN_NANOSECONDS = 2_000_000_000  # a file that has just changed may change again without another time


def cache_folder() -> Path:
    """Raises `RuntimeError` for a user without a home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gallery"


class Cache:
    """A file of SQLite below ~/.cache/gallery, which several commands may use at once.

    Where it cannot be used, `warn` gets a sentence, once, and the hashes and keys last until the end of the command.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        try:
            folder = cache_folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = _open(folder / "uploads.sqlite")
        except (OSError, RuntimeError, sqlite3.Error) as error:
            self._do_without(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def sha256(self, file: FoundFile) -> str | None:
        """The hash of the file as it is now, if it is known."""
        return self._run(FIND, *_key(file), file.size, file.version)

    def keep_sha256(self, file: FoundFile, sha256: str) -> None:
        if file.entry or file.version < time.time_ns() - UNCERTAIN_NANOSECONDS:
            self._run(KEEP, *_key(file), file.size, file.version, sha256)

    def key(self, url: str, sha256: str, fields: str) -> str:
        """The idempotency key of this upload: that of the last run, if it was interrupted there."""
        new = str(uuid4())
        self._run(ADD_KEY, url, sha256, fields, new)
        return self._run(FIND_KEY, url, sha256, fields) or new

    def done(self, url: str, sha256: str, fields: str) -> None:
        self._run(REMOVE_KEY, url, sha256, fields)

    def _run(self, statement: str, *values: Any) -> str | None:
        """The first value of the first row."""
        try:
            row = self._db.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            self._do_without(error)
            row = self._db.execute(statement, values).fetchone()
        return None if row is None else str(row[0])

    def _do_without(self, error: Exception) -> None:
        self._warn(f"no cache of hashes and interrupted uploads, so the next run has more to do: {error}")
        self._db = _open(":memory:")


def _open(path: Path | str) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    db.executescript(SCHEMA)
    return db


def _key(file: FoundFile) -> tuple[bytes, str]:
    """Names of files need not be Unicode."""
    return os.fsencode(file.path), file.entry
