"""API keys, signing keys and link keys in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from gallery.access.model import Owner, Scope
from gallery.adapters.postgres.database import Connection


class ApiKey(Struct, frozen=True, kw_only=True):
    """An API key as stored; `hash` is the SHA-256 of its secret."""

    id: str
    hash: bytes
    owner: Owner
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class SigningKey(Struct, frozen=True):
    """A key for HMAC-SHA256. A retired key verifies, but no longer signs."""

    id: str
    secret: bytes
    retired: bool


# --- API keys -------------------------------------------------------------------------------------------------------

COLUMNS = "id, hash, owner, name, scopes, created_at, expires_at, revoked_at"
ADD = f"""
    INSERT INTO api_key (id, hash, owner, name, scopes, expires_at)
    VALUES ($1, $2, $3, $4, $5, now() + $6::interval) RETURNING {COLUMNS}
"""
FIND = f"SELECT {COLUMNS} FROM api_key WHERE id = $1"
ALL = f"SELECT {COLUMNS} FROM api_key ORDER BY created_at, id"
REVOKE = f"UPDATE api_key SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING {COLUMNS}"


async def add(
    db: Connection,
    key_id: str,
    digest: bytes,
    owner: Owner,
    name: str,
    scopes: Sequence[Scope],
    lifetime: timedelta | None,
) -> ApiKey:
    return _api_key(await db.fetchrow(ADD, key_id, digest, owner, name, scopes, lifetime))


async def find(db: Connection, key_id: str) -> ApiKey | None:
    row = await db.fetchrow(FIND, key_id)
    return None if row is None else _api_key(row)


async def list_all(db: Connection) -> list[ApiKey]:
    return [_api_key(row) for row in await db.fetch(ALL)]


async def revoke(db: Connection, key_id: str) -> ApiKey | None:
    """The revoked key; `None` when there is no such key, or it is revoked already."""
    row = await db.fetchrow(REVOKE, key_id)
    return None if row is None else _api_key(row)


def _api_key(row: object) -> ApiKey:
    fields = dict(row)  # type: ignore[call-overload]  # a record of asyncpg's is a mapping
    return ApiKey(**{**fields, "scopes": frozenset(Scope(s) for s in fields["scopes"])})


# --- signing keys ---------------------------------------------------------------------------------------------------

SIGNING_KEYS = """
    SELECT id, secret, retired_at IS NOT NULL AS retired FROM signing_key
    WHERE retired_at IS NULL OR retired_at > now() - $1::interval ORDER BY retired_at DESC NULLS FIRST
"""
ADD_SIGNING_KEY = "INSERT INTO signing_key (id, secret) VALUES ($1, $2) ON CONFLICT DO NOTHING"
RETIRE_SIGNING_KEYS = "UPDATE signing_key SET retired_at = now() WHERE retired_at IS NULL"
DROP_RETIRED_SIGNING_KEYS = "DELETE FROM signing_key WHERE retired_at <= now() - $1::interval"


async def signing_keys(db: Connection, verify_for: timedelta) -> list[SigningKey]:
    """The key that signs comes first, then the keys retired for less than `verify_for`."""
    return [SigningKey(**dict(row)) for row in await db.fetch(SIGNING_KEYS, verify_for)]


async def add_signing_key(db: Connection, key_id: str, secret: bytes) -> None:
    """Does nothing if there is a key that signs."""
    await db.execute(ADD_SIGNING_KEY, key_id, secret)


async def retire_signing_keys(db: Connection, verify_for: timedelta) -> None:
    """Retires the key that signs, and drops the keys retired for `verify_for` or longer."""
    await db.execute(RETIRE_SIGNING_KEYS)
    await db.execute(DROP_RETIRED_SIGNING_KEYS, verify_for)


# --- link keys ------------------------------------------------------------------------------------------------------


class LinkKey(Struct, frozen=True, kw_only=True):
    """A key that signs URLs of pictures elsewhere, without its secret."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


LINK_KEY_COLUMNS = "id, name, created_at, revoked_at"
ADD_LINK_KEY = f"INSERT INTO link_key (id, secret, name) VALUES ($1, $2, $3) RETURNING {LINK_KEY_COLUMNS}"
LINK_KEYS = f"SELECT {LINK_KEY_COLUMNS} FROM link_key ORDER BY created_at, id"
VALID_LINK_KEYS = "SELECT id, secret, false AS retired FROM link_key WHERE revoked_at IS NULL"
REVOKE_LINK_KEY = f"""
    UPDATE link_key SET revoked_at = now(), secret = NULL WHERE id = $1 AND revoked_at IS NULL
    RETURNING {LINK_KEY_COLUMNS}
"""


async def add_link_key(db: Connection, key_id: str, secret: bytes, name: str) -> LinkKey:
    return _link_key(await db.fetchrow(ADD_LINK_KEY, key_id, secret, name))


async def link_keys(db: Connection) -> list[LinkKey]:
    return [_link_key(row) for row in await db.fetch(LINK_KEYS)]


async def valid_link_keys(db: Connection) -> list[SigningKey]:
    """Those that are not revoked, with their secrets."""
    return [SigningKey(**dict(row)) for row in await db.fetch(VALID_LINK_KEYS)]


async def revoke_link_key(db: Connection, key_id: str) -> LinkKey | None:
    """Deletes the secret too. `None` when there is no such key, or it is revoked already."""
    row = await db.fetchrow(REVOKE_LINK_KEY, key_id)
    return None if row is None else _link_key(row)


def _link_key(row: object) -> LinkKey:
    return LinkKey(**dict(row))  # type: ignore[call-overload]  # a record of asyncpg's is a mapping
