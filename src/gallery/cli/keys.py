"""`gallery keys …`: API keys and signing keys."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import typer

from gallery.access.keys import ApiKeys
from gallery.access.model import Owner, Scope, is_valid_owner
from gallery.access.signing import Signatures
from gallery.access.store import ApiKey
from gallery.adapters.postgres.database import Database, open_database
from gallery.cli import startup
from gallery.errors import Misconfigured
from gallery.settings import Settings

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
MAX_LIFETIME = timedelta(days=3650)
COLUMNS = ("ID", "STATE", "EXPIRES", "SCOPES", "OWNER", "NAME")


async def create(settings: Settings, owner: str, scopes: Sequence[str], expires: str, name: str, *, json: bool) -> None:
    """Raises `Misconfigured`."""
    allowed, lifetime = _parse_scopes(scopes), _parse_lifetime(expires)
    if not is_valid_owner(owner) or not (name == "" or is_valid_owner(name)):
        raise Misconfigured("--owner and --name must be 1 to 200 printable characters.")
    async with open_keys_database(settings) as database:
        key, text = await ApiKeys(database).create(Owner(owner), name, allowed, lifetime)
    print_data_directory(settings)
    if json:
        typer.echo(msgspec.json.encode({**_as_json(key), "key": text}))
    else:
        typer.echo(f"The key {key.id} of {owner}, shown only once:", err=True)
        typer.echo(text)


async def list_(settings: Settings, *, json: bool) -> None:
    async with open_keys_database(settings) as database:
        keys = await ApiKeys(database).list_all()
    print_data_directory(settings)
    if json:
        for key in keys:
            typer.echo(msgspec.json.encode(_as_json(key)))
        typer.echo(msgspec.json.encode({"keys": len(keys)}))
        return
    if not keys:
        typer.echo("There are no API keys. Create one with gallery keys create.", err=True)
        return
    print_table([COLUMNS, *map(_row, keys)])


async def revoke(settings: Settings, key: str, *, json: bool) -> None:
    """Raises `KeyNotFound`."""
    async with open_keys_database(settings) as database:
        revoked = await ApiKeys(database).revoke(key)
    print_data_directory(settings)
    typer.echo(msgspec.json.encode(_as_json(revoked)) if json else f"The key {key} is revoked.")


async def rotate(settings: Settings, *, at_once: bool, json: bool) -> None:
    """Raises `CannotStart`."""
    async with open_keys_database(settings) as database:
        key = await Signatures(database, settings.access.signing_keys).rotate(at_once=at_once)
    if json:
        typer.echo(msgspec.json.encode({"id": key}))
    else:
        others = "All old keys are deleted." if at_once else "Old signatures stay valid for seven days."
        typer.echo(f"New signatures use the key {key}. {others}")


def print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@asynccontextmanager
async def open_keys_database(settings: Settings) -> AsyncIterator[Database]:
    async with startup.settings_with_servers(settings) as found:
        await startup.ensure_schema(found)
        async with open_database(found.database) as database:
            yield database


def print_data_directory(settings: Settings) -> None:
    """Names the embedded database, which depends on the working directory."""
    if settings.database.url is None:
        typer.echo(f"Data directory: {settings.data_path.absolute()} (set GALLERY_DATA_DIR to change it).", err=True)


def _parse_scopes(texts: Sequence[str]) -> list[Scope]:
    names = [name for text in texts for name in re.split(r"[\s,]+", text) if name]
    if not names or not set(names) <= set(Scope):
        raise Misconfigured(f"--scope must be one of {', '.join(Scope)}.")
    return [Scope(name) for name in dict.fromkeys(names)]


def _parse_lifetime(text: str) -> timedelta | None:
    """Parses 90d, 12h and the like; `None` for "never"."""
    if text == "never":
        return None
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    lifetime = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else timedelta()
    if not timedelta() < lifetime <= MAX_LIFETIME:
        raise Misconfigured(f"--expires is {text!r}: expected something like 90d, 12h, or never.")
    return lifetime


def _as_json(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "owner": key.owner,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "state": _state(key),
        "createdAt": key.created_at,
        "expiresAt": key.expires_at,
        "revokedAt": key.revoked_at,
    }


def _row(key: ApiKey) -> tuple[str, ...]:
    expires = f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "never"
    return (key.id, _state(key), expires, ",".join(sorted(key.scopes)), key.owner, key.name)


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "valid"
