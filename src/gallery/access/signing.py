"""What we sign ourselves: links, cookies and tickets, with HMAC-SHA256 by keys that all processes share.

The purpose is part of what is signed, so that nothing made for one door opens another. A key that was rotated out goes
on verifying for as long as the longest-lived thing that it may have signed.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from datetime import timedelta

from gallery.access import store
from gallery.access.model import Purpose
from gallery.access.store import SigningKey
from gallery.adapters.postgres.database import Database
from gallery.errors import CannotStart

LONGEST = timedelta(days=7)  # that anything signed may live
FRESH = 2.0  # seconds for which the keys that were read are taken as they are
SHORTEST = 32  # bytes of a secret
GIVEN = re.compile(r"([\w.-]{1,32}):([\w+/-]+=*)")


class Signatures:
    """Signs and verifies; the keys are `given`, or made once in the database."""

    def __init__(self, database: Database, given: str | None) -> None:
        """Raises `CannotStart` for given keys that are none."""
        self._database = database
        self._given = _parsed(given) if given else None
        self._keys: list[SigningKey] = self._given or []
        self._read_at = float("-inf")

    async def sign(self, purpose: Purpose, message: str) -> tuple[str, str]:
        """The id of the key, and the signature. Raises `DatabaseAway`."""
        key = (await self._current())[0]
        return key.id, _signature(key, purpose, message)

    async def verify(self, purpose: Purpose, message: str, key_id: str, signature: str) -> bool:
        """Raises `DatabaseAway`."""
        key = next((key for key in await self._current() if key.id == key_id), None)
        expected = _signature(key or _NO_KEY, purpose, message)
        return hmac.compare_digest(expected.encode(), signature.encode()) and key is not None

    async def stands(self, key_id: str) -> bool:
        """Whether the key with this id still verifies. Raises `DatabaseAway`."""
        return any(key.id == key_id for key in await self._current())

    async def rotate(self, *, at_once: bool = False) -> str:
        """A new key signs from now on; with `at_once` all others are dropped. Returns its id. Raises `CannotStart`."""
        if self._given:
            raise CannotStart("The signing keys are given by GALLERY_ACCESS__SIGNING_KEYS: put a new one first there.")
        verify = timedelta() if at_once else LONGEST
        async with self._database.writing() as db:
            await store.retire_signing_keys(db, verify)
            await store.add_signing_key(db, *_fresh())
        self._read_at = float("-inf")
        return (await self._current())[0].id

    async def _current(self) -> list[SigningKey]:
        if self._given or time.monotonic() - self._read_at < FRESH:
            return self._keys
        async with self._database.primary() as db:
            keys = await store.signing_keys(db, LONGEST)
            if not keys or keys[0].retired:
                await store.add_signing_key(db, *_fresh())
                keys = await store.signing_keys(db, LONGEST)
        self._keys, self._read_at = keys, time.monotonic()
        return keys


_NO_KEY = SigningKey("", b"\0" * SHORTEST, retired=True)


def encoded(raw: bytes) -> str:
    """Base64 that needs no escaping in URLs and cookies."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Raises `ValueError`."""
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _signature(key: SigningKey, purpose: Purpose, message: str) -> str:
    return encoded(hmac.new(key.secret, f"gallery:{purpose}:1\n{message}".encode(), hashlib.sha256).digest())


def _fresh() -> tuple[str, bytes]:
    return secrets.token_hex(4), secrets.token_bytes(SHORTEST)


def _parsed(text: str) -> list[SigningKey]:
    keys = [_key(part.strip(), first=not place) for place, part in enumerate(text.split(","))]
    if len({key.id for key in keys}) < len(keys):
        raise CannotStart("GALLERY_ACCESS__SIGNING_KEYS has an id twice.")
    return keys


def _key(text: str, *, first: bool) -> SigningKey:
    match = GIVEN.fullmatch(text)
    try:
        secret = decoded(match[2].rstrip("=").replace("+", "-").replace("/", "_")) if match else b""
    except (ValueError, binascii.Error):
        secret = b""
    if match is None or len(secret) < SHORTEST:
        raise CannotStart(
            f"GALLERY_ACCESS__SIGNING_KEYS is not `id:secret`, in base64 and of {SHORTEST} bytes or more, "
            "with commas between."
        )
    return SigningKey(match[1], secret, retired=not first)
