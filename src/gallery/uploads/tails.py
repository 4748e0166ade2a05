"""What requests leave of an unfinished part: the tails, each an object of its own, until the part is full.

A request that brings a few bytes does not write all tails again, but only those that are not twice as long as what it
leaves: so a byte is written again about as often as its tail can double before it is a part, and there are 23
tails at most, each twice as long as the next one. The column `tail_key` has their keys in order.
"""

import hashlib
import os
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from gallery.adapters.objects.store import ObjectStore
from gallery.errors import ObjectNotFound, ObjectStoreUnavailable
from gallery.images.model import ImageId, tail_key
from gallery.uploads.model import Upload

SEPARATOR = " "
BLOCK_BYTES = 1024 * 1024


class Tail(NamedTuple):
    """The object `key` has `size` bytes of the file, from its byte `start`."""

    key: str
    start: int
    size: int

    @property
    def is_alone(self) -> bool:
        """It was written by a version that knows one tail only, and does not say its start."""
        return _start_of(self.key) is None


async def tails_of(upload: Upload, objects: ObjectStore) -> list[Tail]:
    """In the order of their bytes, which follow those of the parts. Raises `ObjectNotFound`."""
    if upload.tail_key is None:
        return []
    tails: list[Tail] = []
    end = upload.received
    for key in reversed(upload.tail_key.split(SEPARATOR)):
        start = _start_of(key)
        if start is None:
            start = end - await _stored_size(objects, key)
        tails.insert(0, Tail(key, start, end - start))
        end = start
    return tails


def new_tail(upload: ImageId, holder: str, start: int, size: int) -> Tail:
    return Tail(tail_key(upload, start, holder), start, size)


def split(tails: Sequence[Tail], size: int) -> tuple[list[Tail], list[Tail]]:
    """The tails that stay, and those that are joined with `size` bytes after them."""
    kept, joined = list(tails), list[Tail]()
    while kept and (kept[-1].size < 2 * size or kept[-1].is_alone):
        joined.insert(0, kept.pop())
        size += joined[0].size
    return kept, joined


def keys(tails: Sequence[Tail]) -> str:
    """For the column `tail_key`."""
    return SEPARATOR.join(tail.key for tail in tails)


async def prepend(file: BinaryIO, tails: Sequence[Tail], objects: ObjectStore) -> None:
    """Put the bytes of the tails before those of `file`, which is at its end before and after.

    Raises `ObjectNotFound`, `ObjectStoreUnavailable`; then the file is of no use any more.
    """
    _move(file, sum(tail.size for tail in tails))
    file.seek(0)
    for tail in tails:
        size, blocks = await objects.open(tail.key)
        if size != tail.size:
            raise ObjectNotFound(key=tail.key, size=tail.size, found=size)
        end = file.tell() + size
        async for block in blocks:
            file.write(block)
        if file.tell() != end:
            raise ObjectStoreUnavailable(key=tail.key, size=size, read=file.tell() - end + size)
    file.seek(0, os.SEEK_END)


def digest(file: BinaryIO) -> "hashlib._Hash":
    """Of all bytes of the file, to be gone on with; the file is at its end then."""
    found = hashlib.sha256()
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        found.update(block)
    return found


def _move(file: BinaryIO, distance: int) -> None:
    """Move all bytes of the file towards its end, the last ones first, since they may go over the others."""
    end = file.tell()
    while distance and end:
        start = max(0, end - BLOCK_BYTES)
        file.seek(start)
        block = file.read(end - start)
        file.seek(start + distance)
        file.write(block)
        end = start


def _start_of(key: str) -> int | None:
    start, dot, _ = key.rpartition("/")[2].partition(".")
    return int(start) if dot else None


async def _stored_size(objects: ObjectStore, key: str) -> int:
    size = await objects.size(key)
    if size is None:
        raise ObjectNotFound(key=key)
    return size
