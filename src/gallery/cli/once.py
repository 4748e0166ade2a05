"""`gallery migrate` and `gallery sweep`."""

import msgspec
import typer

from gallery.adapters.postgres.database import SCHEMA_REVISION
from gallery.cli import startup
from gallery.settings import Settings


async def migrate(settings: Settings, *, slow: bool = False, json: bool = False) -> None:
    """Raises `CannotStart`."""
    async with startup.settings_with_servers(settings, valkey=False) as found:
        before = await startup.check_revision(found)
        if before != SCHEMA_REVISION:
            await startup.migrate_in_subprocess(startup.direct_url(found), slow=slow)
    if json:
        typer.echo(msgspec.json.encode({"schema": SCHEMA_REVISION, "before": before}))
    else:
        typer.echo(f"The database is at schema {SCHEMA_REVISION} (before: {before or 'none'}).")


async def sweep(settings: Settings, *, dry_run: bool, json: bool) -> None:
    async with startup.ready_gallery(settings) as gallery:
        swept = await (gallery.sweep.plan() if dry_run else gallery.sweep.run())
    if json:
        typer.echo(msgspec.json.encode(swept))
    elif dry_run:
        typer.echo(f"{swept.enqueued} images to enqueue, {swept.removed} objects to remove.")
    else:
        typer.echo(f"Enqueued {swept.enqueued} images, removed {swept.removed} objects.")
