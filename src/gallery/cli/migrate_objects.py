"""`gallery migrate-objects`: from one object store to another, with a line for each object that could not come."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.filesize import decimal

from gallery.adapters.objects.store import Objects, objects_at, open_objects
from gallery.cli import startup
from gallery.errors import CannotStart
from gallery.images.object_rows import GRACE
from gallery.maintenance.move import Moved, Moving, Unmoved
from gallery.settings import Settings

OF_STORES = ("S3_", "GALLERY_S3__", "GALLERY_OBJECTS__")
AGAIN = "gallery migrate-objects --since"


class Wish(NamedTuple):
    """What the command line says. A store is an address, or a file with settings that hold for it."""

    from_: str | None
    to: str
    since: datetime | None
    at_once: int
    close: bool
    json: bool


async def migrate_objects(settings: Settings, wish: Wish) -> int:
    """0 when every object is in the new store. Raises `CannotStart`, `ForeignStore`, `Unavailable`."""
    source, target = _store(wish.from_, settings), _store(wish.to, settings)
    since = wish.since.replace(tzinfo=UTC) if wish.since and wish.since.tzinfo is None else wish.since
    began, moved = datetime.now(UTC), Moved()
    console = Console(stderr=True)
    with console.status(f"From {source.place} to {target.place} …") as status:
        async with startup.database(settings) as database:
            run = Moving(database, source, target).run(since, at_once=wish.at_once, close=wish.close)
            async for said in run:
                if isinstance(said, Moved):
                    moved = said
                    status.update(_sentence(moved))
                if wish.json:
                    typer.echo(msgspec.json.encode(said))
                elif isinstance(said, Unmoved):
                    typer.echo(f"{said.code}: {said.key}")
    if not wish.json:
        typer.echo(_sentence(moved))
        typer.echo(f"A second pass: {AGAIN} {began - GRACE:%Y-%m-%dT%H:%M:%S}", err=True)
    return 1 if moved.failed else 0


def _store(place: str | None, settings: Settings) -> Objects:
    if place is None:
        return open_objects(settings)
    if "://" in place:
        return objects_at(place, settings)
    return open_objects(_settings(Path(place), settings))


def _settings(file: Path, settings: Settings) -> Settings:
    """Those of a file with `NAME=value` lines; all that is not about stores is as everywhere. Raises `CannotStart`."""
    try:
        lines = [line.strip().removeprefix("export ") for line in file.read_text().splitlines()]
    except OSError as error:
        raise CannotStart(f"The settings file {file} cannot be read: {error.strerror}.") from None
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith(OF_STORES)}
    stores = {name.strip(): value.strip().strip("\"'") for name, value in given.items() if name.startswith(OF_STORES)}
    return Settings.read({**elsewhere, "GALLERY_DATA_DIR": str(settings.data), **stores})


def _sentence(moved: Moved) -> str:
    failed = f", {moved.failed} could not be copied" if moved.failed else ""
    return f"{moved.copied} objects copied ({decimal(moved.bytes)}), {moved.already} were there already{failed}."
