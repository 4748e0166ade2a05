"""An upload from its request to its answer: at most once for each idempotency key, with an optional wait for READY."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import BinaryIO

import msgspec
from msgspec import Struct

from gallery.access.model import Caller
from gallery.access.service import Access
from gallery.adapters.postgres.database import Connection
from gallery.background import cancel_and_wait
from gallery.errors import CredentialNotValid, ImageNotFound, InvalidHeader, Unavailable
from gallery.images.model import Image, ImageId, Status, UploadedFile
from gallery.images.service import Images
from gallery.notifications.feed import Feed
from gallery.uploads import schema, tickets
from gallery.uploads.add import NewImages, TransactionHook, UploadResult, no_hook
from gallery.uploads.form import Form
from gallery.uploads.idempotency import Idempotency, KeyLock, StoredResponse, fingerprint, key_of

MAX_WAIT_SECONDS = 60
SETTLED_EVENTS = frozenset({"image.ready", "image.failed", "image.deleted"})

KEY_PATTERN = re.compile(r"[!-~]{1,255}")
WAIT_PATTERN = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


class ResponseState(Struct, frozen=True):
    """The fields of a stored response's body that its headers and `Prefer: wait` need."""

    status: Status
    version: int
    duplicate: bool


class UploadResponse(Struct, frozen=True):
    """The response to an upload; `status` is the HTTP status."""

    status: int
    image: ImageId
    body: bytes
    state: ResponseState
    replayed: bool = False


class Uploads:
    def __init__(
        self, images: Images, new_images: NewImages, idempotency: Idempotency, feed: Feed, access: Access, base: str
    ) -> None:
        self._images = images
        self._new_images = new_images
        self._access = access
        self._idempotency = idempotency
        self._feed = feed
        self._base = base

    def make_file(self) -> BinaryIO:
        """An empty file for a photo that is being received. Raises `NoRoom`, `ObjectStoreUnavailable`."""
        return self._new_images.make_file()

    async def receive(
        self,
        caller: Caller,
        key: str | None,
        body: AbstractAsyncContextManager[Form],
        in_transaction: TransactionHook = no_hook,
        *,
        use_taken: bool = False,
        lock_holder: str | None = None,
    ) -> UploadResponse:
        """Add the photo in `body`, or return the stored response to its `key`.

        `in_transaction` runs in the transaction that adds or finds the image, unless the response was stored.
        `use_taken`: the upload took its use of an upload ticket as it began. `lock_holder`: see `Idempotency.lock`.
        Raises `StillInFlight`, `IdempotencyKeyReused`, `CredentialNotValid` if the credential was revoked while the
        body arrived, `UploadTicketUsedUp`, `TypeNotAccepted`, and the errors of `read_form` and `NewImages.add`.
        """
        idempotency_key = None if key is None else key_of(caller, key)
        async with (
            self._idempotency.lock(idempotency_key, lock_holder) as lock,
            tickets.checked_body(caller, body, takes_use=not (use_taken or lock.answered)) as form,
        ):
            if await self._access.is_revoked(caller):
                raise CredentialNotValid(reason="revoked during the upload", key=caller.api_key_id)
            form.check_digest()
            metadata = schema.parse_metadata(tickets.apply_rules(caller, form.fields), form.file_name)
            stored = lock.find_response(fingerprint(form.fields, form.sha256))
            if stored is not None:
                await self._new_images.ensure_enqueued(stored.image)
                state = msgspec.json.decode(stored.body, type=ResponseState)
                return UploadResponse(stored.status, stored.image, stored.body, state, replayed=True)
            upload = UploadedFile(form.file, form.file_name, form.size, form.sha256, form.stored_as)
            hook = in_transaction
            if idempotency_key is not None:
                hook = self._store_response_hook(lock, fingerprint(form.fields, form.sha256), hook)
            hook = tickets.with_use(caller, hook, taken=use_taken)
            return self._response_for(await self._new_images.add(caller, upload, metadata, hook))

    async def wait_until_settled(self, caller: Caller, response: UploadResponse, seconds: int) -> UploadResponse:
        """The response once the image is READY or FAILED, after `seconds`, or when the process stops.

        If the image is deleted or the caller's credential expires meanwhile, the last response before that.
        """
        caller = tickets.having_uploaded(caller, response.image)
        expired = asyncio.ensure_future(self._access.wait_until_expired(caller))
        try:
            with self._feed.waiter(response.image, SETTLED_EVENTS) as changed, suppress(ImageNotFound):
                expired.add_done_callback(lambda _: changed.set())
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        while _in_flight(response := await self._refresh(caller, response, expired)) and not (
                            self._feed.ended or expired.done()
                        ):
                            await changed.wait()
                            changed.clear()
                if _in_flight(response):
                    response = await self._refresh(caller, response, expired)
        finally:
            await cancel_and_wait(expired)
        return response

    async def _refresh(
        self, caller: Caller, response: UploadResponse, expired: "asyncio.Future[None]"
    ) -> UploadResponse:
        """The current response; the old one if the database is unavailable or `expired`. Raises `ImageNotFound`."""
        if expired.done():
            return response
        try:
            image = await self._images.get_owned(caller, response.image)
        except Unavailable:
            return response
        return self._build_response(
            image, response.status, duplicate=response.state.duplicate, replayed=response.replayed
        )

    def _store_response_hook(self, lock: KeyLock, mark: str, in_transaction: TransactionHook) -> TransactionHook:
        async def store(db: Connection, uploaded: UploadResult) -> None:
            await in_transaction(db, uploaded)
            response = self._response_for(uploaded)
            await lock.store_response(db, StoredResponse(mark, response.status, response.image, response.body))

        return store

    def _response_for(self, result: UploadResult) -> UploadResponse:
        return self._build_response(result.image, 200 if result.duplicate else 201, duplicate=result.duplicate)

    def _build_response(self, image: Image, status: int, *, duplicate: bool, replayed: bool = False) -> UploadResponse:
        body = schema.encode_upload_view(image, self._base, duplicate)
        return UploadResponse(status, image.id, body, ResponseState(image.status, image.version, duplicate), replayed)


def parse_idempotency_key(headers: Sequence[str]) -> str | None:
    """The key in the values of `Idempotency-Key`: 1 to 255 visible ASCII characters. Raises `InvalidHeader`."""
    if not headers:
        return None
    if len(headers) > 1 or KEY_PATTERN.fullmatch(headers[0]) is None:
        raise InvalidHeader("Idempotency-Key", "once, with 1 to 255 visible ASCII characters")
    return headers[0]


def preferred_wait_seconds(headers: Sequence[str]) -> int | None:
    """The seconds of `wait` in the values of `Prefer` (RFC 7240), at most 60; `None` if there is no valid one."""
    match = WAIT_PATTERN.search(",".join(headers))
    return None if match is None else min(int(match[1]), MAX_WAIT_SECONDS)


def _in_flight(response: UploadResponse) -> bool:
    return response.state.status in (Status.PENDING, Status.PROCESSING)
