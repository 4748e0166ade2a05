"""Signatures of links, sessions and tickets: HMAC-SHA256 with keys that all processes share.

The purpose is part of the signed message, so that a signature is not valid for another purpose. A retired key still
verifies for `MAX_LIFETIME`, until all that it has signed has expired.
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
from gallery.access.key_checks import CACHE_SECONDS, KeyReads
from gallery.access.model import Purpose
from gallery.access.store import SigningKey
from gallery.adapters.postgres.database import Database
from gallery.errors import CannotStart

MAX_LIFETIME = timedelta(days=7)  # of every signature
MIN_SECRET_BYTES = 32
SIGNING_KEYS_VARIABLE = "GALLERY_ACCESS__SIGNING_KEYS"
CONFIGURED_KEY = re.compile(r"([\w.-]{1,32}):([\w+/-]+=*)")


class Signatures:
    """Signs and verifies with the `configured` keys, or with keys that are generated in the database."""

    def __init__(self, database: Database, configured: str | None) -> None:
        """Raises `CannotStart` for invalid configured keys."""
        self._database = database
        self._configured_keys = parse_keys(SIGNING_KEYS_VARIABLE, configured) if configured else None
        self._keys: list[SigningKey] = self._configured_keys or []
        self._read_at = float("-inf")
        self._reads: KeyReads[list[SigningKey]] = KeyReads()

    async def sign(self, purpose: Purpose, message: str) -> tuple[str, str]:
        """Returns the id of the key and the signature. Raises `DatabaseUnavailable`."""
        key = await self.current_key()
        return key.id, signature_of(key, purpose, message)

    async def current_key(self) -> SigningKey:
        """The key that signs now. Raises `DatabaseUnavailable`."""
        return (await self._current_keys())[0]

    def is_current(self, key_id: str) -> bool:
        """Whether the key with this id signed when the keys were read last."""
        return bool(self._keys) and self._keys[0].id == key_id

    async def verify(self, purpose: Purpose, message: str, key_id: str, signature: str) -> bool:
        """Whether the signature is valid; compares in constant time. Raises `DatabaseUnavailable`."""
        key = next((key for key in await self._current_keys() if key.id == key_id), None)
        return is_signature_of(key or _DUMMY_KEY, purpose, message, signature) and key is not None

    async def is_valid(self, key_id: str) -> bool:
        """Whether the key with this id still verifies. Raises `DatabaseUnavailable`."""
        return any(key.id == key_id for key in await self._current_keys())

    def checked_until(self, key_id: str) -> float:
        """As `key_checks.CheckedKeys` tells."""
        if not any(key.id == key_id for key in self._keys):
            return float("-inf")
        if self._configured_keys:
            return float("inf")
        self._reads.renew("all", self._read_at, self._read)
        return self._read_at + CACHE_SECONDS

    async def rotate(self, *, at_once: bool = False) -> str:
        """A new key signs from now on; with `at_once` all others are dropped. Returns its id. Raises `CannotStart`."""
        if self._configured_keys:
            raise CannotStart(f"{SIGNING_KEYS_VARIABLE} sets the signing keys: put a new key first in that variable.")
        verify_for = timedelta() if at_once else MAX_LIFETIME
        async with self._database.writing() as db:
            await store.retire_signing_keys(db, verify_for)
            await store.add_signing_key(db, secrets.token_hex(4), new_secret())
        return (await self._read())[0].id

    async def _current_keys(self) -> list[SigningKey]:
        if self._configured_keys:
            return self._configured_keys
        if time.monotonic() - self._read_at >= CACHE_SECONDS:
            return await self._reads.read("all", self._read)
        self._reads.renew("all", self._read_at, self._read)
        return self._keys

    async def _read(self) -> list[SigningKey]:
        now = time.monotonic()
        async with self._database.primary() as db:
            keys = await store.signing_keys(db, MAX_LIFETIME)
            if not keys or keys[0].retired:
                await store.add_signing_key(db, secrets.token_hex(4), new_secret())
                keys = await store.signing_keys(db, MAX_LIFETIME)
        if now > self._read_at:  # not before a rotation by this process
            self._keys, self._read_at = keys, now
        return keys


class SigningKeys:
    """The key that signs, as `key_checks.CheckedKeys`: valid until another one signs."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    def checked_until(self, key_id: str) -> float:
        return self._signatures.checked_until(key_id) if self._signatures.is_current(key_id) else float("-inf")

    async def is_valid(self, key_id: str) -> bool:
        return (await self._signatures.current_key()).id == key_id


_DUMMY_KEY = SigningKey("", b"\0" * MIN_SECRET_BYTES, retired=True)


def base64url_encode(raw: bytes) -> str:
    """Base64 that needs no escaping in URLs and cookies."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def base64url_decode(text: str) -> bytes:
    """Raises `ValueError`."""
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def signature_of(key: SigningKey, purpose: Purpose, message: str) -> str:
    """HMAC-SHA256 in base64url."""
    return base64url_encode(hmac.new(key.secret, f"gallery:{purpose}:1\n{message}".encode(), hashlib.sha256).digest())


def is_signature_of(key: SigningKey, purpose: Purpose, message: str, signature: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(signature_of(key, purpose, message).encode(), signature.encode())


def new_secret() -> bytes:
    return secrets.token_bytes(MIN_SECRET_BYTES)


def parse_keys(variable: str, text: str) -> list[SigningKey]:
    """The keys in the value of that variable; all but the first are retired. Raises `CannotStart`."""
    keys = [_parse_key(variable, part.strip(), first=not index) for index, part in enumerate(text.split(","))]
    if len({key.id for key in keys}) < len(keys):
        raise CannotStart(f"{variable} has the same id twice.")
    return keys


def _parse_key(variable: str, text: str, *, first: bool) -> SigningKey:
    match = CONFIGURED_KEY.fullmatch(text)
    try:
        secret = base64url_decode(match[2].rstrip("=").replace("+", "-").replace("/", "_")) if match else b""
    except (ValueError, binascii.Error):
        secret = b""
    if match is None or len(secret) < MIN_SECRET_BYTES:
        raise CannotStart(
            f"{variable} must be a list of `id:secret` separated by commas, each secret in base64 and of "
            f"{MIN_SECRET_BYTES} bytes or more."
        )
    return SigningKey(match[1], secret, retired=not first)
