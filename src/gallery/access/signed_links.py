"""Signed links: a URL that serves one image's bytes without a credential until it expires.

One signature is valid for the image's original and all its renditions; the signature of a download is valid for the
original only, as a file to save; that of a picture on demand for one query only. `docs/signed-links.md` has the form of
the last, which other servers sign too.
"""

import re
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from urllib.parse import parse_qsl, quote, urlencode

from msgspec import Struct

from gallery.access.key_checks import KeyCheck
from gallery.access.link_keys import LinkKeys
from gallery.access.model import NO_OWNER, Caller, CredentialKind, Purpose
from gallery.access.signing import MAX_LIFETIME, Signatures, SigningKeys, is_signature_of, signature_of
from gallery.access.store import SigningKey
from gallery.errors import LinkNotValid

QUERY_PARAMETERS = ("kid", "exp", "sig")
MAX_EXPIRY_DIGITS = 12
NAME = re.compile(r"[A-Za-z]+")  # of a parameter of a picture
VALUE = re.compile(r"[A-Za-z0-9.,_-]*")


class SignedQuery(dict[str, str]):
    """The query parameters that authorize a URL: `kid`, `exp`, `sig`, and perhaps `download`."""

    def append_to(self, url: str) -> str:
        return f"{url}{'&' if '?' in url else '?'}{self._text}"

    def append_to_query(self, query: str) -> str:
        return f"{query}&{self._text}" if query else self._text

    @cached_property
    def _text(self) -> str:
        return urlencode(self)


class LinkSigner(Struct, frozen=True):
    """Signs links that all expire at the same time, in seconds since 1970."""

    key: SigningKey
    expires: int
    stable_until: float  # `time.monotonic`: when links with another expiry are signed instead

    def sign(self, image: str, purpose: Purpose = Purpose.LINK) -> SignedQuery:
        download = {"download": "1"} if purpose is Purpose.DOWNLOAD else {}
        return SignedQuery(download | self._parameters(purpose, _message(image, self.expires)))

    def sign_picture(self, image: str, parameters: Mapping[str, str]) -> str:
        """The query of the URL that shows the picture with exactly these parameters. Raises `LinkNotValid`."""
        query = signed_query(parameters)
        signed = SignedQuery(self._parameters(Purpose.PICTURE, _picture_message(image, self.expires, query)))
        return signed.append_to_query(query)

    def _parameters(self, purpose: Purpose, message: str) -> dict[str, str]:
        signature = signature_of(self.key, purpose, message)
        return {"kid": self.key.id, "exp": str(self.expires), "sig": signature}

    @property
    def tag(self) -> str:
        """For an `ETag`: the same as long as the links are the same."""
        return f"{self.expires}-{quote(self.key.id, safe='')}"


class SignedLinks:
    def __init__(self, signatures: Signatures, link_keys: LinkKeys, window: int) -> None:
        """`window`: for how many seconds the links of `window_signer` stay the same."""
        self._signatures = signatures
        self._signing = SigningKeys(signatures)
        self._link_keys = link_keys
        self._window = window

    async def sign(self, image: str, lifetime: timedelta, purpose: Purpose = Purpose.LINK) -> SignedQuery:
        return (await self.signer(lifetime)).sign(image, purpose)

    async def signer(self, lifetime: timedelta) -> LinkSigner:
        """Signs links that expire after `lifetime`. Raises `DatabaseUnavailable`."""
        expires = int(time.time() + min(lifetime, MAX_LIFETIME).total_seconds())
        return LinkSigner(await self._signatures.current_key(), expires, time.monotonic())

    async def window_signer(self) -> LinkSigner:
        """Signs the same links for all callers within one window, so that browsers find them in their caches.

        They expire at the end of the next window. `key_check` tells whether another key would sign them by now. Raises
        `DatabaseUnavailable`.
        """
        key = await self._signatures.current_key()
        now = time.time()
        window_end = (int(now) // self._window + 1) * self._window
        return LinkSigner(key, window_end + self._window, time.monotonic() + window_end - now)

    def key_check(self, signer: LinkSigner) -> KeyCheck:
        """Holds while the signer's key is the one that signs."""
        return KeyCheck(self._signing, signer.key.id)

    async def authenticate(self, image: str, query: Mapping[str, str], allowed: Sequence[Purpose]) -> Caller:
        """A caller that may read `image`, by its URL's parameters. Raises `LinkNotValid`, `DatabaseUnavailable`."""
        key_id, text, signature = (query.get(name, "") for name in QUERY_PARAMETERS)
        purpose, expires = Purpose.DOWNLOAD if "download" in query else Purpose.LINK, _parse_expiry(text)
        if purpose not in allowed:
            raise LinkNotValid(reason="malformed")
        if not await self._signatures.verify(purpose, _message(image, expires), key_id, signature):
            raise LinkNotValid(reason="signature", key=key_id)
        return _caller(image, expires, signing_key_id=key_id)

    async def authenticate_picture(self, image: str, query_string: bytes) -> Caller:
        """A caller that may read the picture of `image` with exactly this query. Raises as `authenticate` does."""
        query = _parse_query(query_string)
        key_id, text, signature = (query.pop(name, "") for name in QUERY_PARAMETERS)
        expires = _parse_expiry(text)
        message = _picture_message(image, expires, signed_query(query))
        link_key = await self._link_keys.find(key_id)
        if link_key is None and await self._signatures.verify(Purpose.PICTURE, message, key_id, signature):
            return _caller(image, expires, signing_key_id=key_id)
        if link_key is None or not is_signature_of(link_key, Purpose.PICTURE, message, signature):
            raise LinkNotValid(reason="signature", key=key_id)
        return _caller(image, expires, link_key_id=key_id)


def signed_query(parameters: Mapping[str, str]) -> str:
    """What the signature of a picture signs of its URL: the parameters sorted by name, without percent-encoding.

    Raises `LinkNotValid` for a character of no picture's query.
    """
    if not all(NAME.fullmatch(name) and VALUE.fullmatch(value) for name, value in parameters.items()):
        raise LinkNotValid(reason="malformed")
    return "&".join(f"{name}={value}" for name, value in sorted(parameters.items()))


def _picture_message(image: str, expires: int, query: str) -> str:
    return f"{_message(image, expires)}\n{query}"


def _message(image: str, expires: int) -> str:
    return f"{image}\n{expires}"


def _parse_expiry(text: str) -> int:
    """Raises `LinkNotValid`."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_EXPIRY_DIGITS):
        raise LinkNotValid(reason="malformed")
    return int(text)


def _parse_query(query_string: bytes) -> dict[str, str]:
    """As the handler of pictures reads it. Raises `LinkNotValid`, also for a parameter that is given twice."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise LinkNotValid(reason="malformed") from None
    if len(dict(pairs)) < len(pairs):
        raise LinkNotValid(reason="malformed")
    return dict(pairs)


def _caller(image: str, expires: int, *, signing_key_id: str | None = None, link_key_id: str | None = None) -> Caller:
    """The caller of a link with a valid signature. Raises `LinkNotValid` if it has expired."""
    if expires <= time.time():
        raise LinkNotValid(reason="expired")
    return Caller(
        owner=NO_OWNER,
        kind=CredentialKind.LINK,
        expires_at=float(expires),
        signing_key_id=signing_key_id,
        link_key_id=link_key_id,
        image_id=image,
    )
