"""Uploads by the IETF's protocol: the sender may not know the size, and says which request is the last one.

What the draft demands beside `ResumableUploads`: a request takes the upload from an earlier one of the same client,
whose connection may be dead; and lengths that do not fit together are refused.
"""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import structlog

from gallery.access.model import Caller
from gallery.adapters.postgres.database import Database
from gallery.errors import (
    EmptyFile,
    GalleryError,
    InconsistentLength,
    OffsetMismatch,
    QuotaExceeded,
    TooLarge,
    UploadCompleted,
)
from gallery.images.model import ImageId
from gallery.settings import UploadSettings
from gallery.uploads import begin_rows, tickets, upload_rows
from gallery.uploads.finishing import Finishing
from gallery.uploads.ietf import Said
from gallery.uploads.model import Hold, NewUpload, Protocol, Upload, replace
from gallery.uploads.resumable import Activity, Body, ResumableUploads, returned_or_refused

log = structlog.get_logger(__name__)

TAKE_OVER_SECONDS = 2.0  # for an earlier request to keep what it has, if it can
POLL_SECONDS = 0.1


class IetfUploads:
    def __init__(
        self, database: Database, uploads: ResumableUploads, finishing: Finishing, settings: UploadSettings
    ) -> None:
        self._database = database
        self._uploads = uploads
        self._finishing = finishing
        self._settings = settings

    async def create(self, caller: Caller, new: NewUpload, *, with_content: bool) -> Upload:
        """Begin an upload. With the key of one that has not ended, a request without content finds that one.

        A request with content brings the file from its beginning, so what an earlier one has left of it is forgotten:
        nothing else tells that these are the same bytes. Raises as `ResumableUploads.create` does.
        """
        upload = await self._uploads.create(caller, new)
        if not with_content or not upload.received or upload.outcome is not None:
            return upload
        await self._uploads.forget(upload)
        return await self._uploads.create(caller, new)

    async def take_over(self, caller: Caller, id_: ImageId) -> None:
        """End an earlier request that still writes this upload, so that its offset stays as it is now.

        Its client can send nothing else meanwhile, so the connection of that request is dead, or it has been given up.
        Does nothing for an upload of another protocol. Raises `UploadNotFound`.
        """
        upload = await self._uploads.find(caller, id_)
        if upload.protocol is Protocol.IETF and upload.outcome is None:
            await self._take_over(upload)

    async def append(self, caller: Caller, id_: ImageId, offset: int, body: Body, said: Said) -> Upload:
        """Write the bytes of `body` from `offset`; after the last request, the upload ends.

        What arrived before the client disconnected is kept. Raises `OffsetMismatch`, `InconsistentLength`,
        `UploadCompleted`, `TooLarge`, and what `ResumableUploads.append` raises.
        """
        upload = await self._uploads.find(caller, id_, Protocol.IETF)
        if upload.outcome is not None:
            raise _ended_error(upload, body)
        await self._take_over(upload)
        async with self._uploads.hold(upload) as (held, activity):
            if offset != held.upload.received:
                raise OffsetMismatch(received=held.upload.received, sent=offset)
            hold = await self._announce(caller, held, body, said)
            room, error = await self._room(caller, hold.upload)
            with tickets.size_limit_named(caller):
                bounded = _Bounded(body, room, error)
            try:
                with tickets.size_limit_named(caller):
                    return await self._write(caller, hold, activity, bounded, last=said.last)
            except TooLarge as error:  # the draft: "marking the upload resource invalid"
                await self._finishing.refuse(hold, error)
                raise

    async def _write(self, caller: Caller, hold: Hold, activity: Activity, body: Body, *, last: bool) -> Upload:
        sized = _sized(hold, hold.upload.length) if last else hold
        after, sha256 = await self._uploads.receive(sized, body, activity)
        if not last:
            return after.upload
        size = after.upload.received
        if not size:
            await self._finishing.refuse(hold, EmptyFile())
            raise EmptyFile
        if after.upload.size is None:  # what is left over was not known to be the end
            after, _ = await self._uploads.receive(_sized(after, size), _Nothing(), activity)
        elif size != after.upload.size:
            raise InconsistentLength(length=after.upload.size, said=size)
        async with self._database.primary() as db:
            await upload_rows.set_size(db, after, size)
        return returned_or_refused(await self._finishing.finish(caller, after, sha256))

    async def _announce(self, caller: Caller, hold: Hold, body: Body, said: Said) -> Hold:
        """The hold on the upload with the length that is known now."""
        upload = hold.upload
        length = upload.length if said.length is None else said.length
        if upload.length not in (None, length):
            raise InconsistentLength(length=upload.length, said=length)
        if length is None:
            return hold
        end = upload.received + (body.size or 0)
        if end > length:
            raise InconsistentLength(length=length, said=end)
        if upload.length is None:
            self._uploads.check_size(caller, length)
            async with self._database.primary() as db:
                await begin_rows.check_quota(db, upload, length, self._settings)
                await upload_rows.announce(db, hold, length)
        return Hold(replace(upload, announced=length), hold.holder)

    async def _room(self, caller: Caller, upload: Upload) -> tuple[int, GalleryError]:
        """The bytes that a request may add to an upload, and the error for more."""
        limit = tickets.size_limit(caller, self._settings.max_bytes)
        bound: tuple[int, GalleryError] = (limit - upload.received, TooLarge(limit=limit))
        if upload.length is not None or not self._settings.quota_bytes:
            return bound
        async with self._database.primary() as db:
            used = await begin_rows.used_bytes(db, upload.owner)
        left = max(0, self._settings.quota_bytes - used)
        quota = QuotaExceeded(size=left, used=used, limit=self._settings.quota_bytes)
        return bound if bound[0] <= left else (left, quota)

    async def _take_over(self, upload: Upload) -> None:
        deadline = monotonic() + TAKE_OVER_SECONDS
        while True:
            async with self._database.primary() as db:
                holder = await upload_rows.find_holder(db, upload.id)
                if holder is not None and monotonic() > deadline:
                    await upload_rows.take_from(db, upload.id, holder)
                    log.info("upload.taken_over", upload=upload.id)
                    return
            if holder is None:
                return
            await asyncio.sleep(POLL_SECONDS)


class _Nothing:
    """No bytes, for the end of an upload that has all of them."""

    at_once = False
    size: int | None = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        blocks: tuple[bytes, ...] = ()
        for block in blocks:
            yield block

    def check(self) -> None:
        """There is nothing to check."""


class _Bounded:
    """A body of which at most `room` bytes are taken: `error` is raised for more, and as soon as its size is known."""

    def __init__(self, body: Body, room: int, error: GalleryError) -> None:
        if (body.size or 0) > room:
            raise error
        self._body = body
        self._room = room
        self._error = error
        self.at_once = body.at_once
        self.size = body.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        room = self._room
        async for block in self._body:
            room -= len(block)
            if room < 0:
                raise self._error
            yield block

    def check(self) -> None:
        self._body.check()


def _sized(hold: Hold, size: int | None) -> Hold:
    return Hold(replace(hold.upload, size=size), hold.holder)


def _ended_error(upload: Upload, body: Body) -> GalleryError:
    """Why nothing can be appended."""
    assert upload.outcome is not None  # noqa: S101  the upload has ended
    if upload.outcome.refusal is not None:
        return upload.outcome.refusal
    if body.size != 0:
        return InconsistentLength(length=upload.received, said=upload.received + (body.size or 0))
    return UploadCompleted(image=upload.outcome.image)
