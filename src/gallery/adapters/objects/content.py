"""Contents of objects: bytes or a file, with size, hash and the headers that the store sends with them."""

import hashlib
import io
import os
from contextlib import suppress
from datetime import datetime
from io import BufferedRandom
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote

from gallery.local_disk.durable import FileDescriptor, UnnamedDescriptor, UnnamedFile

if TYPE_CHECKING:
    from obstore import Attributes  # a type only: it does not exist at run time

Content: TypeAlias = bytes | Path | IO[bytes]

CHUNK_BYTES = 1024 * 1024
COPY_BYTES = 64 * 1024


class DownloadHeaders(NamedTuple):
    """The type and the file name that a browser gets when it downloads from the store itself."""

    content_type: str
    filename: str


class PutRequest(NamedTuple):
    """A content to be stored under a key."""

    key: str
    content: Content
    headers: DownloadHeaders | None = None


class Digest(NamedTuple):
    """The size of a content in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


class ObjectInfo(NamedTuple):
    """An object in the store: its size in bytes, and the time of its put by the store's clock."""

    key: str
    size: int
    modified_at: datetime


class PrivateFile(BufferedRandom):
    """An empty file without a name, which no other process can open.

    So it may be mapped: a file that another process shortens meanwhile would end this one by a signal.
    """

    def __init__(self) -> None:
        super().__init__(TemporaryFile(buffering=0))  # noqa: SIM115  closed with this file


def attributes(headers: DownloadHeaders | None) -> "Attributes | None":
    """The headers that the store sends. `attachment` keeps browsers from running content under the store's name."""
    if headers is None:
        return None
    disposition = f"attachment; filename*=UTF-8''{quote(headers.filename, safe='')}"
    return {"Content-Type": headers.content_type, "Content-Disposition": disposition}


def content_size(content: Content) -> int:
    """In bytes; rewinds a file."""
    if isinstance(content, bytes):
        return len(content)
    if isinstance(content, Path):
        return content.stat().st_size
    content.seek(0, 2)
    end = content.tell()
    content.seek(0)
    return end


def read_all(content: Content) -> bytes | mmap:
    """The whole content; a file is read from its beginning.

    The bytes of a large file are in pages of their own, which the system gets back with the last reference. Otherwise
    megabytes would stay behind in the heap of each thread that reads. A `PrivateFile` is mapped, others are copied.
    """
    if isinstance(content, bytes):
        return content
    if isinstance(content, Path):
        with content.open("rb") as file:
            return read_all(file)
    size = content_size(content)
    if size <= CHUNK_BYTES:
        return content.read()
    if isinstance(content, PrivateFile):
        return mmap(content.fileno(), size, access=ACCESS_READ)
    pages = mmap(-1, size)
    while part := content.read(COPY_BYTES):
        pages.write(part)
    return pages


def detached(content: Content) -> bytes | Path | FileDescriptor:
    """Content that a thread can still read after its sender has closed the file."""
    if isinstance(content, bytes | Path):
        return content
    if isinstance(content, UnnamedFile):
        content.flush()
        return UnnamedDescriptor(os.dup(content.fileno()))
    if content_size(content) > CHUNK_BYTES:
        with suppress(io.UnsupportedOperation):
            return FileDescriptor(os.dup(content.fileno()))
    return content.read()


def sha256(content: Content) -> str:
    """The hash in hex."""
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
