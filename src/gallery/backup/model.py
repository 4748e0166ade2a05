"""The files of a backup at its location.

    backups/<id>/database.000 …       the dump, in parts
    backups/<id>/objects.000000 …     the inventory: each object with its hash, sorted by key, in JSON lines
    backups/<id>/manifest.json        written last: without it the backup is not complete
    objects/<ab>/<sha256>             the bytes of objects, shared by all backups at the location

Ids are UUIDv7, so the newest backup has the greatest. No file is ever written twice.
"""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

FORMAT_VERSION = 1


class BackupFile(Struct, frozen=True):
    """A file at the location; `size` in bytes, `sha256` in hex."""

    key: str
    size: int
    sha256: str


class InventoryEntry(Struct, frozen=True, array_like=True):
    """An object and its bytes. `created_at` distinguishes it from a later object under the same key.

    Without `sha256` it was missing when the backup was made.
    """

    key: str
    created_at: datetime
    size: int = 0
    sha256: str | None = None


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    """The content of a complete backup."""

    format: int = FORMAT_VERSION
    id: str
    installation: str
    taken_at: datetime
    gallery: str
    schema: str
    postgres: int
    dump: list[BackupFile]
    inventory: list[BackupFile]
    objects: int
    bytes: int
    missing: int
    tables: dict[str, int]


class Progress(Struct, frozen=True, omit_defaults=True):
    """The progress of a step: `done` of `total` objects, or bytes without a known total."""

    step: str
    done: int
    total: int | None = None


class ProgressCallback(Protocol):
    """Is called with each progress."""

    def __call__(self, progress: Progress, /) -> None: ...


def blob_key(sha256: str) -> str:
    """The key of the bytes with this hash."""
    return f"objects/{sha256[:2]}/{sha256}"
