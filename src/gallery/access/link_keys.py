"""Link keys: with one of them, an app's own server signs URLs of pictures without calling Gallery.

They are good for pictures on demand and nothing else, and apart from the keys of sessions, tickets and Gallery's own
links. Keys of the setting and of the database count side by side. Each process caches those of the database as
`access/key_checks.py` tells.
"""

import math
import secrets
import time

import structlog

from gallery.access import store
from gallery.access.key_checks import CACHE_SECONDS, KeyReads
from gallery.access.signing import SIGNING_KEYS_VARIABLE, base64url_encode, new_secret, parse_keys
from gallery.access.store import LinkKey, SigningKey
from gallery.adapters.postgres.database import Database
from gallery.errors import CannotStart, KeyNotFound

log = structlog.get_logger(__name__)

LINK_KEYS_VARIABLE = "GALLERY_ACCESS__LINK_KEYS"
PREFIX = "lk_"  # of the ids in the database; the ids of signing keys there have none


class LinkKeys:
    def __init__(self, database: Database, configured: str | None) -> None:
        """Raises `CannotStart` for invalid configured keys."""
        self._database = database
        keys = parse_keys(LINK_KEYS_VARIABLE, configured) if configured else []
        self._configured = {key.id: key for key in keys}
        self._stored: dict[str, SigningKey] = {}
        self._read_at = float("-inf")
        self._reads: KeyReads[None] = KeyReads()

    async def create(self, name: str) -> tuple[LinkKey, str]:
        """A new key, and `id:secret` as in the setting, which cannot be shown again."""
        key_id, secret = PREFIX + secrets.token_hex(8), new_secret()
        async with self._database.writing() as db:
            made = await store.add_link_key(db, key_id, secret, name)
        log.info("link_key.created", key=key_id)
        return made, f"{key_id}:{base64url_encode(secret)}"

    async def list_all(self) -> list[LinkKey]:
        """Those of the database."""
        async with self._database.primary() as db:
            return await store.link_keys(db)

    @property
    def configured_ids(self) -> list[str]:
        """The ids of those of the setting."""
        return list(self._configured)

    async def revoke(self, key_id: str) -> LinkKey:
        """Raises `KeyNotFound`, `CannotStart` for a key of the setting."""
        if key_id in self._configured:
            raise CannotStart(f"{LINK_KEYS_VARIABLE} sets the link key {key_id}: remove it from that variable.")
        async with self._database.writing() as db:
            revoked = await store.revoke_link_key(db, key_id)
        if revoked is None:
            raise KeyNotFound(key=key_id)
        log.info("link_key.revoked", key=key_id)
        return revoked

    async def find(self, key_id: str) -> SigningKey | None:
        """The valid key with this id. Raises `DatabaseUnavailable`."""
        if key_id in self._configured:
            return self._configured[key_id]
        if not key_id.startswith(PREFIX):
            return None
        if time.monotonic() - self._read_at >= CACHE_SECONDS:
            await self._reads.read("all", self._read)
        else:
            self._reads.renew("all", self._read_at, self._read)
        return self._stored.get(key_id)

    async def is_valid(self, key_id: str) -> bool:
        """Raises `DatabaseUnavailable`."""
        return await self.find(key_id) is not None

    def checked_until(self, key_id: str) -> float:
        """As `key_checks.CheckedKeys` tells."""
        if key_id in self._configured:
            return math.inf
        if key_id not in self._stored:
            return -math.inf
        self._reads.renew("all", self._read_at, self._read)
        return self._read_at + CACHE_SECONDS

    async def _read(self) -> None:
        now = time.monotonic()
        async with self._database.primary() as db:
            keys = await store.valid_link_keys(db)
        self._stored, self._read_at = {key.id: key for key in keys}, now


def check_separate(link_keys: str | None, signing_keys: str | None) -> None:
    """Raises `CannotStart` when both settings have an id or a secret in common."""
    if not link_keys or not signing_keys:
        return
    links, signing = parse_keys(LINK_KEYS_VARIABLE, link_keys), parse_keys(SIGNING_KEYS_VARIABLE, signing_keys)
    if {key.id for key in links} & {key.id for key in signing} or {key.secret for key in links} & {
        key.secret for key in signing
    }:
        raise CannotStart(f"{LINK_KEYS_VARIABLE} and {SIGNING_KEYS_VARIABLE} must have no id and no secret in common.")
