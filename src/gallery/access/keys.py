"""API keys: `gk_<id>_<secret>`. The secret has 256 random bits, so a plain SHA-256 of it is all that we keep.

A key is read at most every `FRESH` seconds in each process: that is how late a revocation may be noticed.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import TypeAlias, TypeVar

import structlog

from gallery.access import store
from gallery.access.model import Caller, Kind, Owner, Scope
from gallery.access.store import ApiKey
from gallery.adapters.postgres.database import Database
from gallery.errors import CredentialNotValid, KeyNotFound

log = structlog.get_logger(__name__)

FRESH = 2.0  # seconds
MOST = 5_000  # keys remembered
MOST_MISSING = 500  # ids without a key remembered: a client that guesses makes up any number of them
T = TypeVar("T")
Remembered: TypeAlias = OrderedDict[str, tuple[float, T]]  # by a key's id: when it was read, and what was found
FORMAT = re.compile(r"gk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


def looks_like_a_key(text: str) -> bool:
    return text.startswith("gk_")


class ApiKeys:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: Remembered[ApiKey] = OrderedDict()
        self._missing: Remembered[None] = OrderedDict()

    async def create(
        self, owner: Owner, name: str, scopes: Sequence[Scope], life: timedelta | None
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which nobody will ever see again."""
        key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        async with self._database.writing() as db:
            made = await store.add(db, key, _digest(secret), owner, name, scopes, life)
        log.info("key.created", key=key, owner=owner, scopes=sorted(scopes))
        return made, f"gk_{key}_{secret}"

    async def every(self) -> list[ApiKey]:
        async with self._database.primary() as db:
            return await store.every(db)

    async def revoke(self, key: str) -> ApiKey:
        """Raises `KeyNotFound`."""
        async with self._database.writing() as db:
            revoked = await store.revoke(db, key)
        if revoked is None:
            raise KeyNotFound(key=key)
        log.info("key.revoked", key=key)
        return revoked

    async def caller(self, text: str) -> Caller:
        """Who has shown this key. Raises `CredentialNotValid`, `DatabaseAway`."""
        match = FORMAT.fullmatch(text)
        if match is None:
            raise CredentialNotValid(reason="malformed key")
        key, secret = match.groups()
        found = await self._find(key)
        if found is None or not hmac.compare_digest(found.hash, _digest(secret)):
            raise CredentialNotValid(reason="unknown key", key=key)
        if not _stands(found):
            raise CredentialNotValid(reason="key revoked or expired", key=key)
        expires_at = found.expires_at.timestamp() if found.expires_at else None
        return Caller(owner=found.owner, scopes=found.scopes, kind=Kind.KEY, expires_at=expires_at, key=key)

    async def stands(self, key: str) -> bool:
        """Whether the key with this id is neither revoked nor expired. Raises `DatabaseAway`."""
        found = await self._find(key)
        return found is not None and _stands(found)

    async def _find(self, key: str) -> ApiKey | None:
        now = time.monotonic()
        read_at, found = self._found.get(key) or self._missing.get(key) or (float("-inf"), None)
        if now - read_at < FRESH:
            return found
        async with self._database.primary() as db:
            found = await store.find(db, key)
        if found is None:
            self._found.pop(key, None)
            _remember(self._missing, key, (now, None), MOST_MISSING)
        else:
            self._missing.pop(key, None)
            _remember(self._found, key, (now, found), MOST)
        return found


def _remember(kept: Remembered[T], key: str, entry: tuple[float, T], most: int) -> None:
    kept[key] = entry
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)


def _stands(key: ApiKey) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at.timestamp() > time.time())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
