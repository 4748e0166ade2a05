"""What a backup is made of, as it is written down at its place.

    backups/<id>/database.000 …       the dump, in parts
    backups/<id>/objects.000000 …     which object is which file, sorted by key, in JSON lines
    backups/<id>/manifest.json        written last: a backup without it is none
    objects/<ab>/<sha256>             the bytes of objects, shared by all backups of the place

Ids are UUIDv7, so the newest backup has the greatest. No file is ever written twice.
"""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

FORMAT_VERSION = 1


class BackupFile(Struct, frozen=True):
    """A file at the place; `size` in bytes, `sha256` in hex."""

    key: str
    size: int
    sha256: str


class InventoryEntry(Struct, frozen=True, array_like=True):
    """An object of the library: which bytes it has. `since` tells it from a later one under the same key.

    Without `sha256` it was not there when it was to be copied.
    """

    key: str
    created_at: datetime
    size: int = 0
    sha256: str | None = None


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole backup."""

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
    """How far a step is: `done` of `total` objects, or bytes where nobody knows of how many."""

    step: str
    done: int
    total: int | None = None


class ProgressCallback(Protocol):
    """Who hears how far it is."""

    def __call__(self, progress: Progress, /) -> None: ...


def blob_key(sha256: str) -> str:
    """Where the bytes with that hash are."""
    return f"objects/{sha256[:2]}/{sha256}"
