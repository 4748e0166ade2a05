"""Writes the bytes of one request to the object store in parts, each recorded in its row once it is safe.

A part has `Upload.part_bytes`. What is left over when the request ends, or breaks off, is a tail (`tails`): an object
of its own, which is read when the part is full. So one machine holds at most one part of an upload, and only during a
request.
"""

import asyncio
import hashlib
import os
from typing import BinaryIO

from gallery import failpoints
from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.parts import StoredPart
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection, Database
from gallery.errors import LongerThanSaid, TooManyAttempts, UploadBusy
from gallery.failpoints import Failpoint
from gallery.images import object_rows
from gallery.rendering.probe import SIGNATURE_BYTES, sniff
from gallery.uploads import upload_rows
from gallery.uploads.model import MAX_PARTS, Hold, replace
from gallery.uploads.tails import Tail, digest, keys, new_tail, prepend, split, tails_of

SPARE_PARTS = 100  # that an upload may put in vain, beside as many as it needs


class PartWriter:
    """Writes at the end of `hold.upload`; `upload` is its state so far.

    With `at_once`, nothing is recorded before `finish`: for a request whose checksum is known only at its end.
    """

    def __init__(self, database: Database, objects: ObjectStore, hold: Hold, *, at_once: bool = False) -> None:
        self.upload = hold.upload
        self._database = database
        self._objects = objects
        self._hold = hold
        self._at_once = at_once
        self._parts: list[StoredPart] = []  # in the store, not recorded yet
        self._part: BinaryIO = objects.temporary_file(hold.upload.key)
        self._start = hold.upload.received  # of the part, whose first bytes may be in tails
        self._tails: list[Tail] = []  # their bytes come before those in the file
        self._read_tails: list[Tail] = []  # their bytes are in the file, or in a part that is not recorded yet
        self._digest = hashlib.sha256()
        self._digested_from = hold.upload.received

    @property
    def position(self) -> int:
        """The offset at which the next byte belongs."""
        return self._start + self._size

    @property
    def _size(self) -> int:
        """Of the unfinished part."""
        return sum(tail.size for tail in self._tails) + self._part.tell()

    @property
    def sha256(self) -> str | None:
        """The hash of the whole file, if all of it came through this writer."""
        return None if self._digested_from else self._digest.hexdigest()

    async def begin(self) -> None:
        """Find the tails that earlier requests left. Raises `ObjectNotFound`, `ObjectStoreUnavailable`."""
        self._tails = await tails_of(self.upload, self._objects)
        self._start -= self._size

    async def write(self, block: bytes) -> None:
        """Raises `LongerThanSaid`, `NotAPicture`, `TooManyAttempts`, `UploadBusy`, `ObjectStoreUnavailable`."""
        length = self.upload.length
        if length is not None and self.position + len(block) > length:
            raise LongerThanSaid(size=length)
        view = memoryview(block)
        while view:
            room = max(0, self.upload.part_bytes - self._size)
            self._digest.update(view[:room])
            self._part.write(view[:room])
            view = view[room:]
            if self._size >= self.upload.part_bytes:
                await self._put_part()

    async def finish(self) -> None:
        """Make all bytes safe that have been written. Raises as `write` does."""
        whole = self.position == self.upload.size
        if whole and self.upload.handle is None and not self._parts:
            await self._put_whole()
        elif self._size and (whole or self._parts_may_be_small()):
            await self._put_part()
        await self._record()
        if self._part.tell() and not self.upload.complete:
            await self._put_tail()

    def close(self) -> None:
        self._part.close()

    def _parts_may_be_small(self) -> bool:
        """Whether what is left over may be a part. The first one must show the format of the picture."""
        store = self._objects.multipart
        least = self.upload.part_bytes * MAX_PARTS // store.max_parts  # smaller ones could be too many
        return store.min_part_bytes == 1 and self._size >= max(least, SIGNATURE_BYTES)

    def _most_numbers(self) -> int:
        """Of parts, for the whole upload. A part that was put in vain stays in the store, beside the quota."""
        needed = -(-(self.upload.length or MAX_PARTS * self.upload.part_bytes) // self.upload.part_bytes)
        most = self._objects.multipart.max_parts
        return min(most, most * (2 * needed + SPARE_PARTS) // MAX_PARTS)

    async def _put_whole(self) -> None:
        """A file that is smaller than a part is put as any other object."""
        await self._read(self._tails)
        size = self.position  # a put moves the file's position
        await self._objects.put(self.upload.key, self._part, self._headers())
        failpoints.hit(Failpoint.UPLOAD_PART_PUT)
        async with self._database.writing() as db:
            expires_at = await upload_rows.set_stored(db, self._hold, size)
            await self._release_tails(db)
        self.upload = replace(self.upload, received=size, stored=True, tail_key=None, expires_at=expires_at)

    async def _put_part(self) -> None:
        await self._read(self._tails)
        handle = self.upload.handle or await self._begin_object()
        async with self._database.primary() as db:
            number = await upload_rows.take_number(db, self._hold)
        if number > self._most_numbers():
            raise TooManyAttempts
        size = self._part.tell()
        part = await self._objects.multipart.put_part(self.upload.key, handle, number, self._start, self._part)
        failpoints.hit(Failpoint.UPLOAD_PART_PUT)
        self._parts.append(part)
        self._start += size
        self._part.seek(0)
        self._part.truncate()
        if not self._at_once:
            await self._record()

    async def _begin_object(self) -> str:
        handle = await begin_object(self._database, self._objects, self._hold, self._headers())
        self.upload = replace(self.upload, handle=handle)
        return handle

    async def _put_tail(self) -> None:
        """The bytes in the file, and those of tails that are not longer, in an object of their own."""
        received = self.position
        kept, joined = split(self._tails, self._part.tell())
        await self._read(joined)
        size = self._part.tell()
        tail = new_tail(self.upload.id, self._hold.holder, received - size, size)
        async with self._database.primary() as db:
            await upload_rows.reserve_tail(db, self._hold, tail.key)
        await self._objects.put(tail.key, self._part)
        failpoints.hit(Failpoint.UPLOAD_PART_PUT)
        tail_keys = keys([*kept, tail])
        async with self._database.writing() as db:
            expires_at = await upload_rows.set_tails(db, self._hold, tail_keys, received)
            await self._release_tails(db)
        failpoints.hit(Failpoint.UPLOAD_PART_ADDED)
        self.upload = replace(self.upload, received=received, tail_key=tail_keys, expires_at=expires_at)

    async def _read(self, tails: list[Tail]) -> None:
        """Put the bytes of the last tails before those in the file."""
        if not tails:
            return
        await prepend(self._part, tails, self._objects)
        self._read_tails += tails
        self._tails = self._tails[: -len(tails)]
        if not self._tails and not self._start:  # from here on, the hash is that of the whole file
            self._digest, self._digested_from = await asyncio.to_thread(digest, self._part), 0

    async def _record(self) -> None:
        """The parts that are in the store are part of the upload, and the tail is in them."""
        if not self._parts:
            return
        async with self._database.writing() as db:
            expires_at = await upload_rows.add_parts(db, self._hold, self._parts, self._start)
            await self._release_tails(db)
        failpoints.hit(Failpoint.UPLOAD_PART_ADDED)
        self._parts = []
        self.upload = replace(self.upload, received=self._start, tail_key=None, expires_at=expires_at)

    async def _release_tails(self, db: Connection) -> None:
        await object_rows.release_keys(db, [tail.key for tail in self._read_tails])
        self._read_tails = []

    def _headers(self) -> DownloadHeaders:
        """By the first bytes. Raises `NotAPicture`, so that gigabytes of something else are not received."""
        self._part.seek(0)
        kind = sniff(self._part.read(SIGNATURE_BYTES))
        self._part.seek(0, os.SEEK_END)
        return DownloadHeaders(kind.mime_type, self.upload.file_name or self.upload.id)


async def begin_object(database: Database, objects: ObjectStore, hold: Hold, headers: DownloadHeaders) -> str:
    """Begin the upload's object in the store. Returns its handle. Raises `UploadBusy`, `ObjectStoreUnavailable`."""
    upload = hold.upload
    handle = await objects.multipart.begin(upload.key, headers)
    failpoints.hit(Failpoint.UPLOAD_BEGUN)
    try:
        async with database.primary() as db:
            await upload_rows.set_handle(db, hold, handle)
    except UploadBusy:  # cancelled, or taken by another request, which begins its own
        await objects.multipart.abort(upload.key, handle)
        raise
    return handle
