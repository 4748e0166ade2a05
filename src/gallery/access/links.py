"""Signed links: whoever has one reads one image's bytes until it expires, without a credential.

One signature is good for the image's original and all its renditions; one made for a download is good for the
original alone, as a file to save.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlencode

from gallery.access.model import NOBODY, Caller, Kind, Purpose
from gallery.access.signing import LONGEST, Signatures
from gallery.errors import LinkNotValid

NAMES = ("kid", "exp", "sig")
MOST_DIGITS = 12


class SignedQuery(dict[str, str]):
    """What a URL carries to be let in."""

    def on(self, url: str) -> str:
        return f"{url}{'&' if '?' in url else '?'}{urlencode(self)}"


class Links:
    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    async def sign(self, image: str, life: timedelta, purpose: Purpose = Purpose.LINK) -> SignedQuery:
        expires = int(time.time() + min(life, LONGEST).total_seconds())
        key_id, signature = await self._signatures.sign(purpose, _message(image, expires))
        download = {"download": "1"} if purpose is Purpose.DOWNLOAD else {}
        return SignedQuery(download | {"kid": key_id, "exp": str(expires), "sig": signature})

    async def caller(self, image: str, query: Mapping[str, str], allowed: Sequence[Purpose]) -> Caller:
        """Who may read `image` because of what stands in the URL. Raises `LinkNotValid`."""
        key_id, expires, signature = (query.get(name, "") for name in NAMES)
        purpose = Purpose.DOWNLOAD if "download" in query else Purpose.LINK
        if purpose not in allowed or not (expires.isascii() and expires.isdigit() and len(expires) <= MOST_DIGITS):
            raise LinkNotValid(reason="malformed")
        if not await self._signatures.verify(purpose, _message(image, int(expires)), key_id, signature):
            raise LinkNotValid(reason="signature", key=key_id)
        if int(expires) <= time.time():
            raise LinkNotValid(reason="expired")
        return Caller(owner=NOBODY, kind=Kind.LINK, expires_at=float(expires), signing_key=key_id, image=image)


def _message(image: str, expires: int) -> str:
    return f"{image}\n{expires}"
