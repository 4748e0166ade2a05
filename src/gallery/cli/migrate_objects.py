"""`gallery migrate-objects`: copies all objects to another store, and prints a line for each that failed."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.filesize import decimal

from gallery.adapters.objects.store import ObjectStore, open_objects, open_objects_at
from gallery.cli import startup
from gallery.errors import CannotStart
from gallery.images.object_rows import RESERVATION_PERIOD
from gallery.maintenance.move import MigrationFailure, MigrationProgress, ObjectMigration
from gallery.settings import Settings

STORE_PREFIXES = ("S3_", "GALLERY_S3__", "GALLERY_OBJECTS__")
SECOND_RUN_COMMAND = "gallery migrate-objects --since"


class MigrateOptions(NamedTuple):
    """The command line's options. A store is an address, or a file with its settings."""

    from_: str | None
    to: str
    since: datetime | None
    at_once: int
    close: bool
    json: bool


async def migrate_objects(settings: Settings, options: MigrateOptions) -> int:
    """Returns 0 when every object is in the new store, else 1. Raises `CannotStart`, `ForeignStore`, `Unavailable`."""
    source, target = _open_store(options.from_, settings), _open_store(options.to, settings)
    since = options.since.replace(tzinfo=UTC) if options.since and options.since.tzinfo is None else options.since
    began, moved = datetime.now(UTC), MigrationProgress()
    console = Console(stderr=True)
    with console.status(f"From {source.location} to {target.location} …") as status:
        async with startup.ready_database(settings) as database:
            run = ObjectMigration(database, source, target).run(since, concurrency=options.at_once, close=options.close)
            async for item in run:
                if isinstance(item, MigrationProgress):
                    moved = item
                    status.update(_summary(moved))
                if options.json:
                    typer.echo(msgspec.json.encode(item))
                elif isinstance(item, MigrationFailure):
                    typer.echo(f"{item.code}: {item.key}")
    if not options.json:
        typer.echo(_summary(moved))
        typer.echo(f"A second pass: {SECOND_RUN_COMMAND} {began - RESERVATION_PERIOD:%Y-%m-%dT%H:%M:%S}", err=True)
    return 1 if moved.failed else 0


def _open_store(address: str | None, settings: Settings) -> ObjectStore:
    if address is None:
        return open_objects(settings)
    if "://" in address:
        return open_objects_at(address, settings)
    return open_objects(_read_settings_file(Path(address), settings))


def _read_settings_file(file: Path, settings: Settings) -> Settings:
    """The settings with those about stores from a file of `NAME=value` lines. Raises `CannotStart`."""
    try:
        lines = [line.strip().removeprefix("export ") for line in file.read_text().splitlines()]
    except OSError as error:
        raise CannotStart(f"The settings file {file} cannot be read: {error.strerror}.") from None
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    others = {name: value for name, value in os.environ.items() if not name.startswith(STORE_PREFIXES)}
    stores = {
        name.strip(): value.strip().strip("\"'") for name, value in given.items() if name.startswith(STORE_PREFIXES)
    }
    return Settings.read({**others, "GALLERY_DATA_DIR": str(settings.data_path), **stores})


def _summary(moved: MigrationProgress) -> str:
    failed = f", {moved.failed} could not be copied" if moved.failed else ""
    return f"{moved.copied} objects copied ({decimal(moved.bytes)}), {moved.already} were already in the store{failed}."
