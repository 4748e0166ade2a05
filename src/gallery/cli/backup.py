"""`gallery backup create`, `gallery backup verify`, `gallery restore`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import structlog
import typer
from msgspec import Struct

from gallery.adapters.objects.store import open_objects
from gallery.adapters.postgres.database import SCHEMA, open_database, wait_for_database
from gallery.adapters.valkey.client import open_valkey
from gallery.backup import store
from gallery.backup.create import Create
from gallery.backup.model import Manifest, Progress, Tell
from gallery.backup.place import Place, open_place
from gallery.backup.proof import Proof, scratch
from gallery.backup.restore import Restore
from gallery.cli import startup
from gallery.images.cache import ImageCache
from gallery.settings import Settings
from gallery.wiring import of_the_cache

log = structlog.get_logger(__name__)


class Done(Struct, frozen=True, rename="camel"):
    """What a command says last."""

    backup: str
    taken_at: str
    objects: int
    bytes: int
    missing: int


async def create(settings: Settings, where: str, keep: int | None, *, json: bool) -> int:
    """1 when something is missing from the library, which is in no backup then. Raises what `Create.run` does."""
    async with startup.gallery(settings) as gallery:
        place = open_place(where, settings, make=True)
        with _telling(json) as tell:
            command = Create(gallery.database, gallery.objects, startup.direct_url(gallery.settings))
            manifest = await command.run(place, keep or settings.backup.keep, tell)
    _finish(manifest, f"The backup {manifest.id} is at {where}", json=json)
    return 1 if manifest.missing else 0


async def restore(settings: Settings, where: str, id_: str | None, *, json: bool) -> None:
    """Raises what `Restore.run` does."""
    async with (
        startup.servers(settings) as found,
        open_valkey(found.redis) as valkey,
        open_valkey(of_the_cache(found)) as cached,
    ):
        await wait_for_database(found.database)
        place = open_place(where, settings)
        with _telling(json) as tell:
            command = Restore(open_objects(found), valkey, ImageCache(cached, found.cache), startup.direct_url(found))
            manifest = await command.run(place, id_, tell)
        await startup.bring_up_to_date(found)
    _finish(manifest, f"Restored the backup {manifest.id}", json=json)


async def verify(
    settings: Settings, where: str, id_: str | None, share: float, database_url: str | None, *, json: bool
) -> int:
    """0 when the backup is good, and then that is written down; 1 when something is wrong."""
    found = 0
    async with startup.servers(settings) as located:
        await wait_for_database(located.database)
        place = open_place(where, settings)
        manifest = await place.manifest(id_)
        async with scratch(startup.direct_url(located), database_url) as url:
            with _telling(json) as tell:
                async for finding in Proof(place, manifest, url).findings(share, tell):
                    found += 1
                    typer.echo(msgspec.json.encode(finding) if json else f"{finding.found}: {finding.what}")
        if not found:
            await _record(located, place, manifest)
    verdict = f"{found} findings in" if found else "All is well with"
    _finish(manifest, f"{verdict} the backup {manifest.id}", json=json)
    return 1 if found else 0


async def _record(settings: Settings, place: Place, manifest: Manifest) -> None:
    """In the Gallery that it is a backup of, if that is where we are: its metrics tell the age."""
    if await wait_for_database(settings.database) == SCHEMA:
        async with open_database(settings.database) as database:
            async with database.primary() as db:
                installation = str(await db.fetchval("SELECT id FROM installation"))
            if installation == manifest.installation:
                return await store.verified(database, manifest.id, place.name, manifest.taken_at)
    log.warning("backup.not_recorded", reason="it is a backup of another Gallery than the one of DATABASE_URL")
    return None


@contextmanager
def _telling(json: bool) -> Iterator[Tell]:
    """NDJSON, a bar on a terminal, or nothing."""
    if json:
        yield lambda progress: typer.echo(msgspec.json.encode(progress))
    elif sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield lambda _: None


@contextmanager
def _bar() -> Iterator[Tell]:
    from rich import progress as rich  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415  only who looks at a terminal needs it

    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn())
    with rich.Progress(*columns, rich.TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, rich.TaskID] = {}

        def tell(progress: Progress) -> None:
            if progress.step not in tasks:
                tasks[progress.step] = bars.add_task(progress.step, total=progress.total)
            bars.update(tasks[progress.step], completed=progress.done, total=progress.total)

        yield tell


def _finish(manifest: Manifest, sentence: str, *, json: bool) -> None:
    done = Done(manifest.id, manifest.taken_at.isoformat(), manifest.objects, manifest.bytes, manifest.missing)
    if json:
        typer.echo(msgspec.json.encode(done))
        return
    lost = f", {manifest.missing} missing from the library already (see gallery verify)" if manifest.missing else ""
    typer.echo(f"{sentence}: {manifest.objects} objects, {manifest.bytes:,} bytes, of {done.taken_at}{lost}.")
