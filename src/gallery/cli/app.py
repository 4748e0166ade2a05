"""The commands and their options; those of keys are in `cli/key_commands.py`, those of the client in
`cli/client_commands.py`. `cli/runner.py` runs them, and each command's code is in the file of its name.
"""

import os
from datetime import datetime
from typing import Annotated

import typer

from gallery import __version__
from gallery.cli.client_commands import add_client_commands
from gallery.cli.key_commands import keys_app
from gallery.cli.options import JsonOption
from gallery.cli.runner import export_settings, read_settings, run
from gallery.errors import Misconfigured

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(keys_app, name="keys")

backup_app = typer.Typer(help="Create and verify backups.", no_args_is_help=True)
app.add_typer(backup_app, name="backup")

LocationArgument = Annotated[str, typer.Argument(metavar="DIR", help="A directory, or s3://bucket/prefix")]
BackupOption = Annotated[str | None, typer.Option("--backup", metavar="ID", help="This backup, not the newest")]


def main() -> None:
    app()


def _print_version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version")
    ] = False,
) -> None:
    """Gallery: the image backend behind an app."""


@app.command()
def dev(
    port: Annotated[int | None, typer.Option(help="Listen on this port (PORT)")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Keep all data in this directory (GALLERY_DATA_DIR)")] = None,
    cors_origin: Annotated[str | None, typer.Option(help="Origin that may use the API (CORS_ORIGIN)")] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Require credentials (GALLERY_ACCESS__OPEN=false); see gallery keys")
    ] = False,
) -> None:
    """Run everything on this machine: servers, API and worker.

    PostgreSQL and Valkey are embedded unless their address is set. A process that dies is restarted.
    """
    from gallery.cli import dev as command  # noqa: PLC0415  each command imports only what it needs

    access_open = "false" if closed else None
    given = {
        "PORT": port,
        "GALLERY_DATA_DIR": data_dir,
        "CORS_ORIGIN": cors_origin,
        "GALLERY_ACCESS__OPEN": access_open,
    }
    run(command.dev, "dev", export_settings(**given))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Listen on this address (GALLERY_HOST)")] = None,
    port: Annotated[int | None, typer.Option(help="Listen on this port (PORT)")] = None,
    workers: Annotated[int | None, typer.Option(help="API processes (GALLERY_SERVE__WORKERS)")] = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A listening socket, inherited")] = None,
) -> None:
    """Serve the API and the web page.

    With WORKER_MODE=true, run a worker instead.
    """
    from gallery.cli import serve as command  # noqa: PLC0415
    from gallery.cli import worker as other  # noqa: PLC0415

    settings = read_settings(GALLERY_HOST=host, PORT=port, GALLERY_SERVE__WORKERS=workers)
    if settings.worker_mode:
        run(other.worker, "worker", settings)
    else:
        run(lambda s: command.serve(s, fd), "api", settings)


@app.command()
def worker(
    concurrency: Annotated[int | None, typer.Option(help="Pictures at once (GALLERY_WORKER__CONCURRENCY)")] = None,
) -> None:
    """Render uploaded images."""
    from gallery.cli import worker as command  # noqa: PLC0415

    run(command.worker, "worker", read_settings(GALLERY_WORKER__CONCURRENCY=concurrency))


@app.command()
def migrate(
    slow: Annotated[bool, typer.Option("--slow", help="No time limit for a step; the API may have to wait")] = False,
    json: JsonOption = False,
) -> None:
    """Migrate the database to this version's schema."""
    from gallery.cli import once as command  # noqa: PLC0415

    run(lambda s: command.migrate(s, slow=slow, json=json), "migrate")


@app.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the work to do")] = False,
    json: JsonOption = False,
) -> None:
    """Clean up after interrupted work.

    Enqueue due images, and remove objects that no image needs.
    """
    from gallery.cli import once as command  # noqa: PLC0415

    run(lambda s: command.sweep(s, dry_run=dry_run, json=json), "sweep")


@app.command()
def verify(
    share: Annotated[
        float, typer.Option("--bytes", min=0, max=1, help="Share of the originals to read: 1 is all, 0.01 a sample")
    ] = 0,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Continue with originals after this image; no keys are compared")
    ] = None,
    remove_unknown: Annotated[
        bool, typer.Option("--remove-unknown", help="Remove objects that no row references, instead of reporting")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare the rows with the object store.

    With --bytes, compare stored bytes with their hashes too. Exits with 1 if they differ.
    """
    from gallery.cli import verify as command  # noqa: PLC0415

    run(lambda s: command.verify(s, share, after, remove_unknown=remove_unknown, json=json), "verify")


@app.command()
def reprocess(
    stale: Annotated[bool, typer.Option("--stale", help="All images whose renditions are of an older recipe")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print how many there are, by recipe")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until all of them are rendered")] = False,
    json: JsonOption = False,
) -> None:
    """Render images again after a change of the recipe.

    They wait in the maintenance lane, behind all uploads, and stay READY. The command can be stopped and started again
    at any time. Exits with 1 if some could not be rendered.
    """
    from gallery.cli import reprocess as command  # noqa: PLC0415

    if not stale:
        raise typer.BadParameter("say which images: --stale")
    run(lambda s: command.reprocess_stale(s, dry_run=dry_run, wait=wait, json=json), "reprocess")


@backup_app.command("create")
def backup_create(
    location: LocationArgument,
    keep: Annotated[int | None, typer.Option(min=1, help="Number of backups to keep (GALLERY_BACKUP__KEEP)")] = None,
    json: JsonOption = False,
) -> None:
    """Back up the database and its objects.

    Objects of earlier backups in the same location are not copied again.
    """
    from gallery.cli import backup as command  # noqa: PLC0415

    run(lambda s: command.create(s, location, keep, json=json), "backup")


@backup_app.command("verify")
def backup_verify(
    location: LocationArgument,
    backup: BackupOption = None,
    share: Annotated[
        float, typer.Option("--bytes", min=0, max=1, help="Share of the files to read: 1 is all, 0.05 a sample")
    ] = 1,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty database to use; by default a temporary one")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Restore a backup into a scratch database and compare.

    Exits with 1 if something is wrong.
    """
    from gallery.cli import backup as command  # noqa: PLC0415

    run(lambda s: command.verify(s, location, backup, share, database_url, json=json), "backup")


@app.command()
def restore(location: LocationArgument, backup: BackupOption = None, json: JsonOption = False) -> None:
    """Restore a backup.

    The database and the object store must be empty.
    """
    from gallery.cli import backup as command  # noqa: PLC0415

    run(lambda s: command.restore(s, location, backup, json=json), "restore")


@app.command()
def doctor(
    heap: Annotated[
        int | None, typer.Option(metavar="PID", help="Instead, the largest Python objects of a serve or worker process")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Find faults, and print what to do about them.

    Exits with 1 if something is wrong, with 2 if a check could not be made.
    """
    from gallery.cli import doctor as command  # noqa: PLC0415

    if heap is not None:
        run(lambda _: command.show_heap(heap, json=json), "doctor")
    try:
        settings = command.read_settings(os.environ)
    except Misconfigured as error:
        raise typer.Exit(command.report_bad_settings(error, json=json)) from None
    run(lambda s: command.doctor(s, os.environ, json=json), "doctor", settings)


@app.command("migrate-objects")
def migrate_objects(
    to: Annotated[str, typer.Option(metavar="STORE", help="s3://…, gs://…, az://…, file:///…, or a file of settings")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="STORE", help="The same; by default the store of the settings")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only objects recorded since then (UTC), for the short second pass")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Objects copied at the same time")] = 8,
    close: Annotated[
        bool, typer.Option("--close", help="At the end, close the old store: Gallery refuses to start with it")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy all objects to another store.

    Each copy is checked. Exits with 1 if some could not be copied.
    """
    from gallery.cli import migrate_objects as command  # noqa: PLC0415

    options = command.MigrateOptions(from_, to, since, at_once, close=close, json=json)
    run(lambda s: command.migrate_objects(s, options), "migrate-objects")


@app.command()
def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that differ from their default")] = False,
    json: JsonOption = False,
) -> None:
    """Print every setting in force, secrets masked."""
    from gallery.cli import config as command  # noqa: PLC0415

    run(lambda s: command.config(s, changed=changed, json=json), "config")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


add_client_commands(app)
