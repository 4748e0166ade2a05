"""What is put into a store: bytes or a file, how large it is, its hash, and how the store may serve it."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from obstore import Attributes  # a type only: it is not there at run time

Content: TypeAlias = bytes | Path | IO[bytes]

CHUNK_BYTES = 1024 * 1024


class DownloadHeaders(NamedTuple):
    """How a browser is to take what it reads from the store itself: of that type, and saved under that name."""

    content_type: str
    filename: str


class PutRequest(NamedTuple):
    """What is to be stored under a key."""

    key: str
    content: Content
    headers: DownloadHeaders | None = None


class Digest(NamedTuple):
    """What bytes amount to: how many there are, and their SHA-256 in hex."""

    size: int
    sha256: str


class ObjectInfo(NamedTuple):
    """An object in the store: its size in bytes, and when it was put, by the store's clock."""

    key: str
    size: int
    modified_at: datetime


def attributes(headers: DownloadHeaders | None) -> "Attributes | None":
    """What the store answers with. `attachment`, so that no browser runs in the store's name what it reads there."""
    if headers is None:
        return None
    disposition = f"attachment; filename*=UTF-8''{quote(headers.filename, safe='')}"
    return {"Content-Type": headers.content_type, "Content-Disposition": disposition}


def content_size(content: Content) -> int:
    """In bytes; a file is at its beginning afterwards."""
    if isinstance(content, bytes):
        return len(content)
    if isinstance(content, Path):
        return content.stat().st_size
    content.seek(0, 2)
    end = content.tell()
    content.seek(0)
    return end


def read_all(content: Content) -> bytes:
    """All of it; a file is read from where it is."""
    if isinstance(content, bytes):
        return content
    return content.read_bytes() if isinstance(content, Path) else content.read()


def sha256(content: Content) -> str:
    """In hex."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    if isinstance(content, Path):
        with content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    content.seek(0)
    while chunk := content.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
