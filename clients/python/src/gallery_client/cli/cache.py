"""What the next run need not do again: the hashes of files, and the keys of uploads that were interrupted."""

import os
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from gallery_client.cli.files import FoundFile

SCHEMA = """
    CREATE TABLE IF NOT EXISTS hash (
        path TEXT, entry TEXT, size INTEGER, version INTEGER, sha256 TEXT, PRIMARY KEY (path, entry)
    );
    CREATE TABLE IF NOT EXISTS resume (url TEXT, sha256 TEXT, fields TEXT, key TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (url, sha256, fields)
    );
    DELETE FROM resume WHERE at < datetime('now', '-23 hours');  -- the server knows a key for a day
"""
FIND = "SELECT sha256 FROM hash WHERE path = ? AND entry = ? AND size = ? AND version = ?"


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gallery"


class Cache:
    """A file of SQLite below ~/.cache/gallery, which several commands may use at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "uploads.sqlite", isolation_level=None, timeout=30)
        self._db.executescript(SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._db.close()

    def sha256(self, file: FoundFile) -> str | None:
        """The hash of the file as it is now, if it is known."""
        row = self._db.execute(FIND, (str(file.path), file.entry, file.size, file.version)).fetchone()
        return None if row is None else str(row[0])

    def keep_sha256(self, file: FoundFile, sha256: str) -> None:
        values = (str(file.path), file.entry, file.size, file.version, sha256)
        self._db.execute("INSERT OR REPLACE INTO hash VALUES (?, ?, ?, ?, ?)", values)

    def key(self, url: str, sha256: str, fields: str) -> str:
        """The idempotency key of this upload: that of the last run, if it was interrupted there."""
        self._db.execute(
            "INSERT OR IGNORE INTO resume (url, sha256, fields, key) VALUES (?, ?, ?, ?)",
            (url, sha256, fields, str(uuid4())),
        )
        where = "SELECT key FROM resume WHERE url = ? AND sha256 = ? AND fields = ?"
        return str(self._db.execute(where, (url, sha256, fields)).fetchone()[0])

    def done(self, url: str, sha256: str, fields: str) -> None:
        self._db.execute("DELETE FROM resume WHERE url = ? AND sha256 = ? AND fields = ?", (url, sha256, fields))
