"""Signed links: a URL that serves one image's bytes without a credential until it expires.

One signature is valid for the image's original and all its renditions; the signature of a download is valid for the
original only, as a file to save.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlencode

from gallery.access.model import NO_OWNER, Caller, CredentialKind, Purpose
from gallery.access.signing import MAX_LIFETIME, Signatures
from gallery.errors import LinkNotValid

QUERY_PARAMETERS = ("kid", "exp", "sig")
MAX_EXPIRY_DIGITS = 12


class SignedQuery(dict[str, str]):
    """The query parameters that authorize a URL: `kid`, `exp`, `sig`, and perhaps `download`."""

    def append_to(self, url: str) -> str:
        return f"{url}{'&' if '?' in url else '?'}{urlencode(self)}"


class SignedLinks:
    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    async def sign(self, image: str, lifetime: timedelta, purpose: Purpose = Purpose.LINK) -> SignedQuery:
        expires = int(time.time() + min(lifetime, MAX_LIFETIME).total_seconds())
        key_id, signature = await self._signatures.sign(purpose, _message(image, expires))
        download = {"download": "1"} if purpose is Purpose.DOWNLOAD else {}
        return SignedQuery(download | {"kid": key_id, "exp": str(expires), "sig": signature})

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
