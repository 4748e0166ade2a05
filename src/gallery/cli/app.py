"""The commands and their options. `cli/runner.py` runs them; each command's code is in the file of its name."""

# Long on purpose: one function for each command, whose docstring and options are the text of `--help`.
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

keys_app = typer.Typer(help="Manage API keys, signing keys and link keys.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")

link_keys_app = typer.Typer(help="Manage keys by which other servers sign URLs of pictures.", no_args_is_help=True)
keys_app.add_typer(link_keys_app, name="links")

backup_app = typer.Typer(help="Create and verify backups.", no_args_is_help=True)
app.add_typer(backup_app, name="backup")

LocationArgument = Annotated[str, typer.Argument(metavar="DIR", help="A directory, or s3://bucket/prefix")]
BackupOption = Annotated[str | None, typer.Option("--backup", metavar="ID", help="This backup, not the newest")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines; the last one is a summary")]


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
        settings = Settings.read(os.environ)
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
    owner: Annotated[str, typer.Option(help="The owner of the images that the key reads and writes")],
    scope: Annotated[list[str], typer.Option(help="images:read, images:write, admin; repeatable")],
    expires: Annotated[str, typer.Option(help="When it expires: 90d, 12h, never")] = "90d",
    name: Annotated[str, typer.Option(help="A note on its purpose")] = "",
    json: JsonOption = False,
) -> None:
    """Create an API key, and print it once."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.create(s, owner, scope, expires, name, json=json), "keys")


@keys_app.command("list")
def keys_list(json: JsonOption = False) -> None:
    """List all API keys, without their secrets."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.list_(s, json=json), "keys")


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The id, not the key itself")], json: JsonOption = False
) -> None:
    """Revoke an API key.

    Its event streams and sessions end within seconds.
    """
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.revoke(s, key, json=json), "keys")


@keys_app.command("rotate")
def keys_rotate(
    at_once: Annotated[bool, typer.Option("--at-once", help="Delete the old keys: their signatures end now")] = False,
    json: JsonOption = False,
) -> None:
    """Sign links, cookies and tickets with a new key."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.rotate(s, at_once=at_once, json=json), "keys")


@link_keys_app.command("create")
def link_keys_create(
    name: Annotated[str, typer.Option(help="A note on its purpose")] = "",
    json: JsonOption = False,
) -> None:
    """Create a link key, and print it once, as id:secret.

    A server that has it can sign URLs of any picture on demand, and nothing else.
    """
    from gallery.cli import link_keys as command  # noqa: PLC0415

    run(lambda s: command.create(s, name, json=json), "keys")


@link_keys_app.command("list")
def link_keys_list(json: JsonOption = False) -> None:
    """List all link keys, without their secrets."""
    from gallery.cli import link_keys as command  # noqa: PLC0415

    run(lambda s: command.list_(s, json=json), "keys")


@link_keys_app.command("revoke")
def link_keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The id, the part before the colon")],
    json: JsonOption = False,
) -> None:
    """Revoke a link key.

    The URLs that it has signed end within seconds.
    """
    from gallery.cli import link_keys as command  # noqa: PLC0415

    run(lambda s: command.revoke(s, key, json=json), "keys")
