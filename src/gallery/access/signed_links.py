"""Signed links: a URL that serves one image's bytes without a credential until it expires.

One signature is valid for the image's original and all its renditions; the signature of a download is valid for the
original only, as a file to save.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from urllib.parse import quote, urlencode

from msgspec import Struct

from gallery.access.model import NO_OWNER, Caller, CredentialKind, Purpose
from gallery.access.signing import MAX_LIFETIME, Signatures, signature_of
from gallery.access.store import SigningKey
from gallery.errors import LinkNotValid

QUERY_PARAMETERS = ("kid", "exp", "sig")
MAX_EXPIRY_DIGITS = 12


class SignedQuery(dict[str, str]):
    """The query parameters that authorize a URL: `kid`, `exp`, `sig`, and perhaps `download`."""

    def append_to(self, url: str) -> str:
        return f"{url}{'&' if '?' in url else '?'}{self._text}"

    @cached_property
    def _text(self) -> str:
        return urlencode(self)


class LinkSigner(Struct, frozen=True):
    """Signs links that all expire at the same time, in seconds since 1970."""

    key: SigningKey
    expires: int
    stable_until: float  # `time.monotonic`: when other links may have to be signed instead

    def sign(self, image: str, purpose: Purpose = Purpose.LINK) -> SignedQuery:
        signature = signature_of(self.key, purpose, _message(image, self.expires))
        download = {"download": "1"} if purpose is Purpose.DOWNLOAD else {}
        return SignedQuery(download | {"kid": self.key.id, "exp": str(self.expires), "sig": signature})

    @property
    def tag(self) -> str:
        """For an `ETag`: the same as long as the links are the same."""
        return f"{self.expires}-{quote(self.key.id, safe='')}"


class SignedLinks:
    def __init__(self, signatures: Signatures, window: int) -> None:
        """`window`: for how many seconds the links of `window_signer` stay the same."""
        self._signatures = signatures
        self._window = window

    async def sign(self, image: str, lifetime: timedelta, purpose: Purpose = Purpose.LINK) -> SignedQuery:
        return (await self.signer(lifetime)).sign(image, purpose)

    async def signer(self, lifetime: timedelta) -> LinkSigner:
        """Signs links that expire after `lifetime`. Raises `DatabaseUnavailable`."""
        expires = int(time.time() + min(lifetime, MAX_LIFETIME).total_seconds())
        return LinkSigner(await self._signatures.current_key(), expires, time.monotonic())

    async def window_signer(self) -> LinkSigner:
        """Signs the same links for all who ask within one window, so that browsers find them in their caches.

        They expire at the end of the next window. Raises `DatabaseUnavailable`.
        """
        key = await self._signatures.current_key()
        now = time.time()
        window_end = (int(now) // self._window + 1) * self._window
        stable_until = min(time.monotonic() + window_end - now, self._signatures.checked_until(key.id))
        return LinkSigner(key, window_end + self._window, stable_until)

    async def authenticate(self, image: str, query: Mapping[str, str], allowed: Sequence[Purpose]) -> Caller:
        """A caller that may read `image`, by its URL's parameters. Raises `LinkNotValid`, `DatabaseUnavailable`."""
        key_id, expires, signature = (query.get(name, "") for name in QUERY_PARAMETERS)
        purpose = Purpose.DOWNLOAD if "download" in query else Purpose.LINK
        if purpose not in allowed or not (
            expires.isascii() and expires.isdigit() and len(expires) <= MAX_EXPIRY_DIGITS
        ):
            raise LinkNotValid(reason="malformed")
        if not await self._signatures.verify(purpose, _message(image, int(expires)), key_id, signature):
            raise LinkNotValid(reason="signature", key=key_id)
        if int(expires) <= time.time():
            raise LinkNotValid(reason="expired")
        return Caller(
            owner=NO_OWNER, kind=CredentialKind.LINK, expires_at=float(expires), signing_key_id=key_id, image_id=image
        )


def _message(image: str, expires: int) -> str:
    return f"{image}\n{expires}"
