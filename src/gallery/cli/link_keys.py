"""`gallery keys links …`: keys by which other servers sign URLs of pictures."""

from typing import Any

import msgspec
import typer

from gallery.access.link_keys import LinkKeys
from gallery.access.model import is_valid_owner
from gallery.access.store import LinkKey
from gallery.cli.keys import open_keys_database, print_data_directory, print_table
from gallery.errors import Misconfigured
from gallery.settings import Settings

COLUMNS = ("ID", "STATE", "CREATED", "NAME")


async def create(settings: Settings, name: str, *, json: bool) -> None:
    """Raises `Misconfigured`."""
    if not (name == "" or is_valid_owner(name)):
        raise Misconfigured("--name must be 1 to 200 printable characters.")
    async with open_keys_database(settings) as database:
        key, text = await LinkKeys(database, settings.access.link_keys).create(name)
    print_data_directory(settings)
    if json:
        typer.echo(msgspec.json.encode({**_as_json(key), "key": text}))
    else:
        typer.echo(f"The link key {key.id}, shown only once:", err=True)
        typer.echo(text)


async def list_(settings: Settings, *, json: bool) -> None:
    """Those of the database, then those of the setting."""
    async with open_keys_database(settings) as database:
        link_keys = LinkKeys(database, settings.access.link_keys)
        keys, configured = await link_keys.list_all(), link_keys.configured_ids
    print_data_directory(settings)
    if json:
        for key in keys:
            typer.echo(msgspec.json.encode(_as_json(key)))
        for key_id in configured:
            typer.echo(msgspec.json.encode({"id": key_id, "state": "configured"}))
        typer.echo(msgspec.json.encode({"keys": len(keys) + len(configured)}))
        return
    if not keys and not configured:
        typer.echo("There are no link keys. Create one with gallery keys links create.", err=True)
        return
    in_setting = [(key_id, "configured", "", "") for key_id in configured]
    print_table([COLUMNS, *map(_row, keys), *in_setting])


async def revoke(settings: Settings, key: str, *, json: bool) -> None:
    """Raises `KeyNotFound`, `CannotStart`."""
    async with open_keys_database(settings) as database:
        revoked = await LinkKeys(database, settings.access.link_keys).revoke(key)
    print_data_directory(settings)
    typer.echo(msgspec.json.encode(_as_json(revoked)) if json else f"The link key {key} is revoked.")


def _as_json(key: LinkKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "state": _state(key),
        "createdAt": key.created_at,
        "revokedAt": key.revoked_at,
    }


def _row(key: LinkKey) -> tuple[str, ...]:
    return (key.id, _state(key), f"{key.created_at:%Y-%m-%d}", key.name)


def _state(key: LinkKey) -> str:
    return "valid" if key.revoked_at is None else "revoked"
