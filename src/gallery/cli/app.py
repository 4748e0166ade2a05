"""The commands. Each reads the settings and does one thing; how it runs and ends is in `cli/runner.py`."""

import os
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from gallery import __version__
from gallery.cli.runner import export_settings, read_settings, run
from gallery.errors import Misconfigured
from gallery.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

keys_app = typer.Typer(help="API keys, and the keys that sign links and cookies.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

backup_app = typer.Typer(help="Backups that prove themselves.", no_args_is_help=True)
app.add_typer(backup_app, name="backup")

LocationArgument = Annotated[str, typer.Argument(metavar="DIR", help="A directory, or s3://bucket/prefix")]
BackupOption = Annotated[str | None, typer.Option("--backup", metavar="ID", help="Not the newest, but this one")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines instead of text, a summary last")]


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
    data_dir: Annotated[str | None, typer.Option(help="Keep all data there (GALLERY_DATA_DIR)")] = None,
    cors_origin: Annotated[str | None, typer.Option(help="Whose pages may use the API (CORS_ORIGIN)")] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Require credentials (GALLERY_ACCESS__OPEN=false); see gallery keys")
    ] = False,
) -> None:
    """Run everything on this machine: servers, API and worker.

    PostgreSQL and Valkey are embedded where no address is set. What dies is started again.
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

    With WORKER_MODE=true, be a worker instead.
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
    """Render what has been uploaded."""
    from gallery.cli import worker as command  # noqa: PLC0415

    run(command.worker, "worker", read_settings(GALLERY_WORKER__CONCURRENCY=concurrency))


@app.command()
def migrate(
    slow: Annotated[bool, typer.Option("--slow", help="A step may take as long as it needs, and the API wait")] = False,
    json: JsonOption = False,
) -> None:
    """Bring the database's schema up to date."""
    from gallery.cli import once as command  # noqa: PLC0415

    run(lambda s: command.migrate(s, slow=slow, json=json), "migrate")


@app.command()
def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what there is to do, and do nothing")] = False,
    json: JsonOption = False,
) -> None:
    """Finish what was left half done.

    Enqueue the images that wait, and remove the objects that no image needs.
    """
    from gallery.cli import once as command  # noqa: PLC0415

    run(lambda s: command.sweep(s, dry_run=dry_run, json=json), "sweep")


@app.command()
def verify(
    share: Annotated[
        float, typer.Option("--bytes", min=0, max=1, help="Which share of the originals is read: 1 all, 0.01 a sample")
    ] = 0,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on with the originals after that image; keys are not compared")
    ] = None,
    remove_unknown: Annotated[
        bool, typer.Option("--remove-unknown", help="Remove objects that no row knows; without it they are only told")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare the rows with the object store.

    With --bytes, compare stored bytes with their hashes too. Exit with 1 if they differ.
    """
    from gallery.cli import verify as command  # noqa: PLC0415

    run(lambda s: command.verify(s, share, after, remove_unknown=remove_unknown, json=json), "verify")


@backup_app.command("create")
def backup_create(
    location: LocationArgument,
    keep: Annotated[int | None, typer.Option(min=1, help="How many backups stay there (GALLERY_BACKUP__KEEP)")] = None,
    json: JsonOption = False,
) -> None:
    """Copy the database and all objects that it needs.

    What is there already is not copied again.
    """
    from gallery.cli import backup as command  # noqa: PLC0415

    run(lambda s: command.create(s, location, keep, json=json), "backup")


@backup_app.command("verify")
def backup_verify(
    location: LocationArgument,
    backup: BackupOption = None,
    share: Annotated[
        float, typer.Option("--bytes", min=0, max=1, help="Which share of the files is read: 1 all, 0.05 a sample")
    ] = 1,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An empty database to try it in; else one is made and dropped")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Restore a backup into a scratch database and compare.

    Exit with 1 if something is wrong.
    """
    from gallery.cli import backup as command  # noqa: PLC0415

    run(lambda s: command.verify(s, location, backup, share, database_url, json=json), "backup")


@app.command()
def restore(location: LocationArgument, backup: BackupOption = None, json: JsonOption = False) -> None:
    """Put a backup back.

    The database and the object store have to be empty.
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
    """Look for what is wrong, and say what to do about it.

    Exit with 1 if something is wrong, with 2 if something could not be said.
    """
    from gallery.cli import doctor as command  # noqa: PLC0415

    if heap is not None:
        run(lambda _: command.show_heap(heap, json=json), "doctor")
    try:
        settings = Settings.read(os.environ)
    except Misconfigured as error:
        raise typer.Exit(command.report_bad_settings(error, json=json)) from None
    run(lambda s: command.doctor(s, os.environ, json=json), "doctor", settings)


@app.command("migrate-objects")
def migrate_objects(
    to: Annotated[str, typer.Option(metavar="STORE", help="s3://…, gs://…, az://…, file:///…, or a file of settings")],
    from_: Annotated[
        str | None, typer.Option("--from", metavar="STORE", help="The same; without it, what the settings say")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only what was written down since then (UTC): the short second pass")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Objects copied at the same time")] = 8,
    close: Annotated[
        bool, typer.Option("--close", help="At the end, let nobody use the old store as this Gallery's any more")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Copy all objects to another store.

    Each is checked on its way. Exit with 1 if some could not be copied.
    """
    from gallery.cli import migrate_objects as command  # noqa: PLC0415

    wish = command.MigrateOptions(from_, to, since, at_once, close=close, json=json)
    run(lambda s: command.migrate_objects(s, wish), "migrate-objects")


@app.command()
def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only those that differ from their default")] = False,
    json: JsonOption = False,
) -> None:
    """Print every setting in force, secrets masked."""
    settings = read_settings()
    shown = [(entry, value) for entry, value in settings.items() if not changed or value != entry.default]
    for entry, value in shown:
        if json:
            typer.echo(msgspec.json.encode({"name": entry.variable, "value": value}))
        else:
            typer.echo(f"{entry.variable:36} {'' if value is None else value!s:24} {entry.description}")
    if json:
        typer.echo(msgspec.json.encode({"settings": len(shown)}))


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@keys_app.command("create")
def keys_create(
    owner: Annotated[str, typer.Option(help="Whose images the key reads and writes")],
    scope: Annotated[list[str], typer.Option(help="images:read, images:write, admin; repeatable")],
    expires: Annotated[str, typer.Option(help="When it ends: 90d, 12h, never")] = "90d",
    name: Annotated[str, typer.Option(help="What it is for")] = "",
    json: JsonOption = False,
) -> None:
    """Make an API key, and show it this once."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.create(s, owner, scope, expires, name, json=json), "keys")


@keys_app.command("list")
def keys_list(json: JsonOption = False) -> None:
    """List all API keys, without their secrets."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.list_(s, json=json), "keys")


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The id, not the key")], json: JsonOption = False
) -> None:
    """Revoke an API key.

    Whatever was opened with it ends within seconds.
    """
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.revoke(s, key, json=json), "keys")


@keys_app.command("rotate")
def keys_rotate(
    at_once: Annotated[bool, typer.Option("--at-once", help="Drop the others: what they signed ends now")] = False,
    json: JsonOption = False,
) -> None:
    """Sign with a new key from now on: links, cookies, tickets."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.rotate(s, at_once=at_once, json=json), "keys")
