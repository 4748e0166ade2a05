"""API keys: `gk_<id>_<secret>`. The secret has 256 random bits, so a plain SHA-256 of it is enough to store.

Each process caches a key as `access/key_checks.py` tells. No statement changes a key but a revocation.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import TypeAlias, TypeVar

import structlog

from gallery.access import store
from gallery.access.key_checks import CACHE_SECONDS, KeyReads
from gallery.access.model import Caller, CredentialKind, Owner, Scope
from gallery.access.store import ApiKey
from gallery.adapters.postgres.database import Database
from gallery.errors import CredentialNotValid, KeyNotFound

log = structlog.get_logger(__name__)

MAX_CACHED_KEYS = 5_000
MAX_CACHED_MISSING = 500  # ids that no key has: a client can invent any number of them
T = TypeVar("T")
CachedEntries: TypeAlias = OrderedDict[str, tuple[float, T]]  # by a key's id: the time of the read, and its result
NEVER_READ = (float("-inf"), None)
KEY_PATTERN = re.compile(r"gk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


def looks_like_api_key(text: str) -> bool:
    return text.startswith("gk_")


class ApiKeys:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._cached: CachedEntries[ApiKey] = OrderedDict()
        self._cached_missing: CachedEntries[None] = OrderedDict()
        self._reads: KeyReads[ApiKey | None] = KeyReads()

    async def create(
        self, owner: Owner, name: str, scopes: Sequence[Scope], lifetime: timedelta | None
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is not stored and cannot be shown again."""
        key, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        async with self._database.writing() as db:
            made = await store.add(db, key, _digest(secret), owner, name, scopes, lifetime)
        log.info("key.created", key=key, owner=owner, scopes=sorted(scopes))
        return made, f"gk_{key}_{secret}"

    async def list_all(self) -> list[ApiKey]:
        async with self._database.primary() as db:
            return await store.list_all(db)

    async def revoke(self, key_id: str) -> ApiKey:
        """Raises `KeyNotFound`."""
        async with self._database.writing() as db:
            revoked = await store.revoke(db, key_id)
        if revoked is None:
            raise KeyNotFound(key=key_id)
        log.info("key.revoked", key=key_id)
        return revoked

    async def authenticate(self, text: str) -> Caller:
        """The caller of this key. Raises `CredentialNotValid`, `DatabaseUnavailable`."""
        match = KEY_PATTERN.fullmatch(text)
        if match is None:
            raise CredentialNotValid(reason="malformed key")
        key, secret = match.groups()
        api_key = await self._find(key)
        if api_key is None or not hmac.compare_digest(api_key.hash, _digest(secret)):
            raise CredentialNotValid(reason="unknown key", key=key)
        if not _is_valid(api_key):
            raise CredentialNotValid(reason="key revoked or expired", key=key)
        expires_at = api_key.expires_at.timestamp() if api_key.expires_at else None
        return Caller(
            owner=api_key.owner,
            scopes=api_key.scopes,
            kind=CredentialKind.API_KEY,
            expires_at=expires_at,
            api_key_id=key,
        )

    async def is_valid(self, key_id: str) -> bool:
        """Whether the key with this id is neither revoked nor expired. Raises `DatabaseUnavailable`."""
        api_key = await self._find(key_id)
        return api_key is not None and _is_valid(api_key)

    def checked_until(self, key_id: str) -> float:
        """As `key_checks.CheckedKeys` tells."""
        read_at, api_key = self._cached.get(key_id, NEVER_READ)
        if api_key is None or not _is_valid(api_key):
            return float("-inf")
        self._reads.renew(key_id, read_at, partial(self._read, key_id))
        return read_at + CACHE_SECONDS

    async def _find(self, key_id: str) -> ApiKey | None:
        read_at, api_key = self._cached.get(key_id) or self._cached_missing.get(key_id) or NEVER_READ
        if time.monotonic() - read_at >= CACHE_SECONDS:
            return await self._reads.read(key_id, partial(self._read, key_id))
        if api_key is not None:
            self._reads.renew(key_id, read_at, partial(self._read, key_id))
        return api_key

    async def _read(self, key_id: str) -> ApiKey | None:
        now = time.monotonic()
        async with self._database.primary() as db:
            api_key = await store.find(db, key_id)
        if api_key is None:
            self._cached.pop(key_id, None)
            _put(self._cached_missing, key_id, (now, None), MAX_CACHED_MISSING)
        else:
            self._cached_missing.pop(key_id, None)
            _put(self._cached, key_id, (now, api_key), MAX_CACHED_KEYS)
        return api_key


def _put(cache: CachedEntries[T], key_id: str, entry: tuple[float, T], max_entries: int) -> None:
    cache[key_id] = entry
    cache.move_to_end(key_id)
    while len(cache) > max_entries:
        cache.popitem(last=False)


def _is_valid(key: ApiKey) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at.timestamp() > time.time())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
