"""`gallery backup create`, `gallery backup verify`, `gallery restore`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import structlog
import typer
from msgspec import Struct

from gallery.adapters.objects.store import open_objects
from gallery.adapters.postgres.database import SCHEMA_REVISION, open_database, wait_for_database
from gallery.adapters.valkey.client import open_valkey
from gallery.backup import store
from gallery.backup.create import BackupCreator
from gallery.backup.location import BackupLocation, open_location
from gallery.backup.model import Manifest, Progress, ProgressCallback
from gallery.backup.restore import BackupRestorer
from gallery.backup.verify import BackupVerifier, scratch_database
from gallery.cli import startup
from gallery.images.cache import ImageCache
from gallery.images.change_tokens import own_change_tokens
from gallery.settings import Settings
from gallery.wiring import cache_redis_settings

log = structlog.get_logger(__name__)


class Summary(Struct, frozen=True, rename="camel"):
    """The last line of a command."""

    backup: str
    taken_at: str
    objects: int
    bytes: int
    missing: int


async def create(settings: Settings, path_or_url: str, keep: int | None, *, json: bool) -> int:
    """Returns the exit code: 1 when objects of the library are missing. Raises as `BackupCreator.run` does."""
    async with startup.ready_gallery(settings) as gallery:
        location = open_location(path_or_url, settings, create=True)
        with _progress_output(json) as on_progress:
            command = BackupCreator(gallery.database, gallery.objects, startup.direct_url(gallery.settings))
            manifest = await command.run(location, keep or settings.backup.keep, on_progress)
    _print_summary(manifest, f"The backup {manifest.id} is at {path_or_url}", json=json)
    return 1 if manifest.missing else 0


async def restore(settings: Settings, path_or_url: str, id_: str | None, *, json: bool) -> None:
    """Raises as `BackupRestorer.run` does."""
    async with (
        startup.settings_with_servers(settings) as found,
        open_valkey(found.redis) as valkey,
        open_valkey(cache_redis_settings(found)) as cache_server,
    ):
        await wait_for_database(found.database)
        location = open_location(path_or_url, settings)
        with _progress_output(json) as on_progress:
            cache = ImageCache(cache_server, found.cache, own_change_tokens())
            command = BackupRestorer(open_objects(found), valkey, cache, startup.direct_url(found))
            manifest = await command.run(location, id_, on_progress)
        await startup.ensure_schema(found)
    _print_summary(manifest, f"Restored the backup {manifest.id}", json=json)


async def verify(
    settings: Settings, path_or_url: str, id_: str | None, share: float, database_url: str | None, *, json: bool
) -> int:
    """Returns the exit code: 0 when the backup is good, which is recorded; 1 when something is wrong."""
    count = 0
    async with startup.settings_with_servers(settings) as found:
        await wait_for_database(found.database)
        location = open_location(path_or_url, settings)
        manifest = await location.manifest(id_)
        async with scratch_database(startup.direct_url(found), database_url) as url:
            with _progress_output(json) as on_progress:
                async for finding in BackupVerifier(location, manifest, url).findings(share, on_progress):
                    count += 1
                    typer.echo(msgspec.json.encode(finding) if json else f"{finding.found}: {finding.what}")
        if not count:
            await _record_verified(found, location, manifest)
    verdict = f"{count} findings in" if count else "Nothing is wrong with"
    _print_summary(manifest, f"{verdict} the backup {manifest.id}", json=json)
    return 1 if count else 0


async def _record_verified(settings: Settings, location: BackupLocation, manifest: Manifest) -> None:
    """Records the time for the metrics, if the backup is of the Gallery of these settings."""
    if await wait_for_database(settings.database) == SCHEMA_REVISION:
        async with open_database(settings.database) as database:
            async with database.primary() as db:
                installation = str(await db.fetchval("SELECT id FROM installation"))
            if installation == manifest.installation:
                return await store.mark_verified(database, manifest.id, location.name, manifest.taken_at)
    log.warning("backup.not_recorded", reason="the backup is not of the Gallery of DATABASE_URL")
    return None


@contextmanager
def _progress_output(json: bool) -> Iterator[ProgressCallback]:
    """NDJSON, a bar on a terminal, or nothing."""
    if json:
        yield lambda progress: typer.echo(msgspec.json.encode(progress))
    elif sys.stderr.isatty():
        with _progress_bar() as on_progress:
            yield on_progress
    else:
        yield lambda _: None


@contextmanager
def _progress_bar() -> Iterator[ProgressCallback]:
    from rich import progress as rich  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415  only needed on a terminal

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn())
    with rich.Progress(*columns, rich.TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, rich.TaskID] = {}

        def on_progress(progress: Progress) -> None:
            if progress.step not in tasks:
                tasks[progress.step] = bars.add_task(progress.step, total=progress.total)
            bars.update(tasks[progress.step], completed=progress.done, total=progress.total)

        yield on_progress


def _print_summary(manifest: Manifest, sentence: str, *, json: bool) -> None:
    done = Summary(manifest.id, manifest.taken_at.isoformat(), manifest.objects, manifest.bytes, manifest.missing)
    if json:
        typer.echo(msgspec.json.encode(done))
        return
    lost = f", {manifest.missing} missing in the object store (see gallery verify)" if manifest.missing else ""
    typer.echo(f"{sentence}: {manifest.objects} objects, {manifest.bytes:,} bytes, of {done.taken_at}{lost}.")
