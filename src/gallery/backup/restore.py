"""Restores a backup: the objects first, then all rows in one transaction, so that a failed restore can be repeated.

Clients and caches have seen changes that were made after the snapshot. Therefore no number is used twice: event
numbers, versions and attempts continue from the clock. An older event cursor is answered with `reset`.
"""

import asyncio
import tempfile
from pathlib import Path

import structlog

from gallery.adapters.objects.store import INSTALLATION_KEY, ObjectStore
from gallery.adapters.postgres import dump
from gallery.adapters.postgres.database import check_schema
from gallery.adapters.valkey.client import Valkey
from gallery.background import gather
from gallery.backup import snapshot
from gallery.backup.location import BackupLocation
from gallery.backup.model import InventoryEntry, Manifest, Progress, ProgressCallback, blob_key
from gallery.errors import BackupDamaged, CannotStart, ObjectNotFound, ValkeyUnavailable
from gallery.images.cache import ImageCache

log = structlog.get_logger(__name__)

CONCURRENCY = 8
OBJECT_PREFIXES = ("original", "renditions")

IS_EMPTY = """
    SELECT NOT EXISTS (
        SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
    )
"""
# The dump's schema may be older than this Gallery's: only columns of the first version with backups are used.
# No number may come twice, also when one backup is restored twice: microseconds run ahead of any rate of events,
# and seconds since 2026 of any one image's changes.
AFTER_RESTORE = """
    RESET search_path;
    DELETE FROM event;
    UPDATE event_numbers SET head = now_in_us, floor = now_in_us FROM (
        SELECT greatest(head + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_in_us
        FROM event_numbers
    ) AS clock;
    UPDATE image SET
        version = greatest(version + 1, seconds), attempt = greatest(attempt + 1, seconds),
        status = CASE status WHEN 'PROCESSING' THEN 'PENDING' ELSE status END,
        work_state = CASE work_state WHEN 'claimed' THEN 'due' ELSE work_state END, lease_until = NULL,
        next_attempt_at = least(next_attempt_at, now()), enqueued_at = '-infinity'
    FROM (SELECT extract(epoch FROM now() - timestamptz '2026-01-01 00:00Z')::integer AS seconds) AS clock;
    DELETE FROM object WHERE key LIKE 'pictures/%';
    DO $$ BEGIN
        IF to_regclass('upload') IS NOT NULL THEN  -- their parts are in no backup
            DELETE FROM upload WHERE ended_at IS NULL;
        END IF;
    END $$;
    UPDATE object SET remove_after = now() WHERE remove_after = 'infinity';
    DELETE FROM idempotency WHERE status IS NULL;
    UPDATE backup SET frozen_until = now() WHERE frozen_until > now();
    UPDATE installation SET swept_at = '-infinity';
"""


class BackupRestorer:
    def __init__(self, objects: ObjectStore, valkey: Valkey, cache: ImageCache, url: str) -> None:
        self._objects = objects
        self._valkey = valkey
        self._cache = cache
        self._url = url
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def run(self, location: BackupLocation, id_: str | None, on_progress: ProgressCallback) -> Manifest:
        """Restores into an empty database, and an object store that is empty or of the same installation.

        Raises `BackupNotFound`, `BackupDamaged`, `ForeignStore`, `DumpFailed`, `Unavailable`, `CannotStart`.
        """
        manifest = await location.manifest(id_)
        check_schema("The backup", manifest.schema)
        programs = await self._programs()
        await self._claim_store(manifest.installation)
        with tempfile.TemporaryDirectory(prefix="gallery-restore-") as folder:
            file = Path(folder) / "database.dump"
            await location.get_dump(manifest, file)  # before anything is changed
            await self._restore_objects(location, manifest, on_progress)
            on_progress(Progress("database", file.stat().st_size))
            await programs.restore(file, self._url, AFTER_RESTORE)
        await self._clear_valkey()
        log.info("backup.restored", id=manifest.id, objects=manifest.objects, missing=manifest.missing)
        return manifest

    async def _programs(self) -> dump.PostgresTools:
        async with snapshot.open_connection(self._url) as db:
            if not await db.fetchval(IS_EMPTY):
                name = await db.fetchval("SELECT current_database()")
                raise CannotStart(
                    f"The database {name} is not empty, and a restore does not overwrite: create an empty database "
                    "(or, with the embedded servers, set a new GALLERY_DATA_DIR)."
                )
            return await dump.get_tools(await snapshot.server_major(db))

    async def _claim_store(self, installation: str) -> None:
        """The store must belong to the same installation, or belong to none and hold no images."""
        unowned = await self._objects.size(INSTALLATION_KEY) is None
        await self._objects.take_ownership(installation)
        for prefix in OBJECT_PREFIXES if unowned else ():
            async for found in self._objects.list(prefix):
                if found:
                    await self._objects.delete([INSTALLATION_KEY])
                    raise CannotStart(f"The object store is not empty: it holds {found[0].key}. Use an empty one.")

    async def _restore_objects(
        self, location: BackupLocation, manifest: Manifest, on_progress: ProgressCallback
    ) -> None:
        done = 0
        async for entries in location.entries(manifest):
            await gather([self._restore_object(location, entry) for entry in entries])
            done += len(entries)
            on_progress(Progress("objects", done, manifest.objects))

    async def _restore_object(self, location: BackupLocation, entry: InventoryEntry) -> None:
        if entry.sha256 is None:
            log.warning("backup.object_missing", key=entry.key)  # it was missing when the backup was made
            return
        async with self._slots:
            if await self._is_restored(entry):
                return
            with tempfile.NamedTemporaryFile(prefix="gallery-restore-") as file:
                source = blob_key(entry.sha256)
                try:
                    await location.objects.fetch(source, Path(file.name), size=entry.size, sha256=entry.sha256)
                except ObjectNotFound:
                    raise BackupDamaged(missing=source, of=entry.key) from None
                await self._objects.delete([entry.key])  # different bytes under the same key
                await self._objects.put(entry.key, Path(file.name))

    async def _is_restored(self, entry: InventoryEntry) -> bool:
        if await self._objects.size(entry.key) != entry.size:
            return False
        return (await self._objects.digest(entry.key)).sha256 == entry.sha256

    async def _clear_valkey(self) -> None:
        """Valkey's content is from before the restore. Without its mark the next sweep enqueues all due images."""
        try:
            await self._cache.clear()
            await self._valkey.call(lambda server: server.unlink(f"{self._valkey.prefix}:queue:mark"))
        except ValkeyUnavailable as error:
            log.warning("backup.cache_not_cleared", error=str(error))  # its entries expire within a minute
