"""An upload from the first byte of its request to its answer: once for each key, and waited for when asked to."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, suppress

import msgspec
from msgspec import Struct

from gallery.access.model import Caller
from gallery.access.service import Access
from gallery.adapters.postgres.database import Connection
from gallery.background import end
from gallery.errors import CredentialNotValid, ImageNotFound, InvalidHeader, Unavailable
from gallery.images.model import Image, ImageId, Photo, Status
from gallery.images.service import Images
from gallery.notifications.feed import Feed
from gallery.uploads import schema
from gallery.uploads.add import NewImages, Seal, Uploaded, unsealed
from gallery.uploads.form import Form
from gallery.uploads.idempotency import Answer, Hold, Idempotency, Key

ROUTE = "POST /api/v1/images"
LONGEST_WAIT = 60  # seconds
SETTLED = frozenset({"image.ready", "image.failed", "image.deleted"})

KEY = re.compile(r"[!-~]{1,255}")
WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


class Said(Struct, frozen=True):
    """What an answer's body says of its image."""

    status: Status
    version: int
    duplicate: bool


class Receipt(Struct, frozen=True):
    """What an uploader is answered; `status` is that of HTTP."""

    status: int
    image: ImageId
    body: bytes
    said: Said
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

    async def take(self, caller: Caller, key: str | None, body: AbstractAsyncContextManager[Form]) -> Receipt:
        """Keep the photo that `body` brings, or answer what was answered to its `key` before.

        Raises `StillInFlight`, `IdempotencyKeyReused`, `CredentialNotValid` when the credential was withdrawn while
        the body arrived, and what reading the body and `NewImages.add` raise.
        """
        held = Key(caller.owner, ROUTE, key) if key is not None else None
        async with self._idempotency.hold(held) as hold, body as form:
            if await self._access.withdrawn(caller):
                raise CredentialNotValid(reason="withdrawn during the upload", key=caller.key)
            draft = schema.draft(form.fields, form.file_name)
            answer = hold.answered(_fingerprint(form))
            if answer is not None:
                await self._new_images.sent_again(answer.image)
                said = msgspec.json.decode(answer.body, type=Said)
                return Receipt(answer.status, answer.image, answer.body, said, replayed=True)
            photo = Photo(form.file, form.file_name, form.size, form.sha256)
            seal = self._sealing(hold, _fingerprint(form)) if held else unsealed
            return self._receipt(await self._new_images.add(caller, photo, draft, seal))

    async def settled(self, caller: Caller, receipt: Receipt, seconds: int) -> Receipt:
        """The receipt as it reads once the image is READY or FAILED, or after that time, or when the process stops.

        Of an image that is deleted meanwhile, or once the caller's credential has ended, as it read before.
        """
        over = asyncio.ensure_future(self._access.over(caller))
        try:
            with self._feed.expecting(receipt.image, SETTLED) as news, suppress(ImageNotFound):
                over.add_done_callback(lambda _: news.set())
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        while _in_flight(receipt := await self._now(caller, receipt, over)) and not (
                            self._feed.ended or over.done()
                        ):
                            await news.wait()
                            news.clear()
                if _in_flight(receipt):
                    receipt = await self._now(caller, receipt, over)
        finally:
            await end(over)
        return receipt

    async def _now(self, caller: Caller, receipt: Receipt, over: "asyncio.Future[None]") -> Receipt:
        """As it reads now, or as it did while the database is away, or once it is `over`. Raises `ImageNotFound`."""
        if over.done():
            return receipt
        try:
            image = await self._images.own(caller, receipt.image)
        except Unavailable:
            return receipt
        return self._told(image, receipt.status, duplicate=receipt.said.duplicate, replayed=receipt.replayed)

    def _sealing(self, hold: Hold, fingerprint: str) -> Seal:
        async def seal(db: Connection, uploaded: Uploaded) -> None:
            receipt = self._receipt(uploaded)
            await hold.finish(db, Answer(fingerprint, receipt.status, receipt.image, receipt.body))

        return seal

    def _receipt(self, uploaded: Uploaded) -> Receipt:
        return self._told(uploaded.image, 200 if uploaded.duplicate else 201, duplicate=uploaded.duplicate)

    def _told(self, image: Image, status: int, *, duplicate: bool, replayed: bool = False) -> Receipt:
        body = msgspec.json.encode(schema.upload_view(image, self._base, duplicate))
        return Receipt(status, image.id, body, Said(image.status, image.version, duplicate), replayed)


def key_in(headers: Sequence[str]) -> str | None:
    """The key in the values of `Idempotency-Key`: 1 to 255 visible ASCII characters. Raises `InvalidHeader`."""
    if not headers:
        return None
    if len(headers) > 1 or KEY.fullmatch(headers[0]) is None:
        raise InvalidHeader("Idempotency-Key", "once, with 1 to 255 visible ASCII characters")
    return headers[0]


def patience(headers: Sequence[str]) -> int | None:
    """How many seconds the values of `Prefer` are ready to wait (RFC 7240); what cannot be read is no preference."""
    match = WAIT.search(",".join(headers))
    return None if match is None else min(int(match[1]), LONGEST_WAIT)


def _fingerprint(form: Form) -> str:
    """Of what was sent, not of how: the boundary and the order of different fields do not count."""
    fields = sorted(form.fields, key=lambda field: field[0])
    return hashlib.sha256(msgspec.json.encode([fields, form.sha256])).hexdigest()


def _in_flight(receipt: Receipt) -> bool:
    return receipt.said.status in (Status.PENDING, Status.PROCESSING)
