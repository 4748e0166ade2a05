"""Creates a backup: a snapshot of the rows, then the objects that it needs, then the manifest.

While it runs nothing is removed from the object store (`backup/store.py: freeze`), so the objects of the snapshot stay
until they are copied. Bytes are stored under their hash, so earlier and interrupted backups save copying.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import structlog

from gallery import __version__
from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Database
from gallery.background import gather
from gallery.backup import snapshot, store
from gallery.backup.location import MANIFEST, BackupLocation
from gallery.backup.model import BackupFile, InventoryEntry, Manifest, Progress, ProgressCallback, blob_key
from gallery.backup.snapshot import NeededObject, SnapshotInfo
from gallery.errors import BackupDamaged, BackupForeign, ObjectNotFound, RemovedMeanwhile

log = structlog.get_logger(__name__)

BATCH_SIZE = 500  # objects in one file of the inventory; an interrupted backup continues behind it
CONCURRENCY = 8

STILL_NEEDED = "SELECT EXISTS (SELECT FROM object WHERE key = $1 AND remove_after IS NULL)"


class BackupCreator:
    def __init__(self, database: Database, objects: ObjectStore, url: str) -> None:
        self._database = database
        self._objects = objects
        self._url = url

    async def run(self, location: BackupLocation, keep: int, on_progress: ProgressCallback) -> Manifest:
        """Creates a backup, and removes all but the newest `keep` at the location.

        Raises `BackupForeign`, `BackupUnderWay`, `RemovedMeanwhile`, `DumpFailed`, `Unavailable`, `CannotStart`.
        """
        async with store.freeze(self._database, location.name) as id_:
            earlier = await _find_newest(location)
            with tempfile.TemporaryDirectory(prefix="gallery-backup-") as folder:
                taken = await snapshot.take(self._url, Path(folder), on_progress)
                if earlier and earlier.installation != taken.installation:
                    raise BackupForeign(place=location.name, installation=earlier.installation)
                dump = await location.put_dump(id_, taken.dump)
                copying = ObjectCopier(
                    self._database, self._objects, location, await _earlier_entries(location, earlier), Path(folder)
                )
                manifest = _manifest(id_, taken, dump, copying, await copying.run(id_, taken, on_progress))
            await location.put_manifest(manifest)
            await store.mark_complete(self._database, id_)
            await _try_prune(location, keep)
        log.info("backup.created", id=id_, objects=manifest.objects, copied=copying.copied, missing=manifest.missing)
        return manifest


class ObjectCopier:
    """Copies the objects of one listing that the location does not have yet, and counts them."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        location: BackupLocation,
        earlier: "EarlierEntries",
        folder: Path,
    ) -> None:
        self._database = database
        self._objects = objects
        self._location = location
        self._earlier = earlier
        self._folder = folder
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self.done = self.bytes = self.copied = self.missing = 0

    async def run(self, id_: str, info: SnapshotInfo, on_progress: ProgressCallback) -> list[BackupFile]:
        """Returns the files of the inventory."""
        inventory: list[BackupFile] = []
        for batch in _batches(info.listing):
            known = [await self._earlier.find(needed) for needed in batch]
            entries = await gather([self._ensure_stored(*both) for both in zip(batch, known, strict=True)])
            inventory.append(await self._location.put_entries(id_, len(inventory), entries))
            on_progress(Progress("objects", self.done, info.objects))
        return inventory

    async def _ensure_stored(self, needed: NeededObject, known: InventoryEntry | None) -> InventoryEntry:
        async with self._slots:
            entry = known if known and await self._is_stored(known) else await self._copy(needed)
        self.done += 1
        self.bytes += entry.size
        return entry

    async def _copy(self, needed: NeededObject) -> InventoryEntry:
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            try:
                read = await self._objects.digest(needed.key, file.file)
            except ObjectNotFound:
                return await self._record_missing(needed)
            file.flush()
            entry = InventoryEntry(needed.key, needed.created_at, read.size, read.sha256)
            self._warn_if_damaged(needed, entry)
            if not await self._is_stored(entry):
                await self._location.objects.put(blob_key(read.sha256), Path(file.name))
                self.copied += 1
        return entry

    async def _is_stored(self, entry: InventoryEntry) -> bool:
        return await self._location.objects.size(blob_key(str(entry.sha256))) == entry.size

    async def _record_missing(self, needed: NeededObject) -> InventoryEntry:
        async with self._database.primary() as db:
            if not await db.fetchval(STILL_NEEDED, needed.key):
                raise RemovedMeanwhile(key=needed.key)
        log.warning("backup.object_missing", key=needed.key)  # it is missing in the object store
        self.missing += 1
        return InventoryEntry(needed.key, needed.created_at)

    def _warn_if_damaged(self, needed: NeededObject, entry: InventoryEntry) -> None:
        if needed.sha256 not in (None, entry.sha256):
            log.warning("backup.original_damaged", key=needed.key)  # in the object store already; copied as it is


class EarlierEntries:
    """The inventories of earlier backups, read in step with the listing in the order of keys."""

    def __init__(self, sources: list[AsyncIterator[InventoryEntry]]) -> None:
        self._sources = sources
        self._next_entries: list[InventoryEntry | None] = []

    async def find(self, needed: NeededObject) -> InventoryEntry | None:
        """The earlier entry of exactly this object, or None. Must be called in the order of keys."""
        if not self._next_entries:
            self._next_entries = [await anext(source, None) for source in self._sources]
        for index, source in enumerate(self._sources):
            while (head := self._next_entries[index]) and head.key < needed.key:
                self._next_entries[index] = await anext(source, None)
            if head and (head.key, head.created_at) == (needed.key, needed.created_at) and head.sha256:
                return head
        if needed.sha256 and needed.size is not None:  # an original: its hash is in its image's row
            return InventoryEntry(needed.key, needed.created_at, needed.size, needed.sha256)
        return None


async def prune(location: BackupLocation, keep: int) -> None:
    """Removes all but the newest `keep` backups, incomplete ones, and bytes that no kept backup needs.

    Holds the hashes of all objects in memory, about 100 bytes each.
    """
    kept = (await location.complete_ids())[-keep:]
    needed: set[bytes] = set()
    for id_ in kept:
        async for entries in location.entries(await location.manifest(id_)):
            needed.update(bytes.fromhex(entry.sha256) for entry in entries if entry.sha256)
    for id_, names in (await location.files()).items():
        if id_ not in kept:
            names.sort(key=lambda name: name != MANIFEST)  # first the manifest: without it the backup is not complete
            await location.objects.delete([f"backups/{id_}/{name}" for name in names])
    async for batch in location.objects.list("objects"):
        found = [each.key for each in batch]
        await location.objects.delete([key for key in found if bytes.fromhex(key.rpartition("/")[2]) not in needed])


async def _try_prune(location: BackupLocation, keep: int) -> None:
    """Damage to an older backup does not fail this one: its needs are unknown, so nothing is removed."""
    try:
        await prune(location, keep)
    except BackupDamaged as error:
        log.warning("backup.not_pruned", place=location.name, error=str(error))


async def _find_newest(location: BackupLocation) -> Manifest | None:
    try:
        return await location.manifest() if await location.complete_ids() else None
    except BackupDamaged as error:
        log.warning("backup.earlier_unreadable", error=str(error))  # its objects are copied again
        return None


async def _earlier_entries(location: BackupLocation, earlier: Manifest | None) -> EarlierEntries:
    sources = await location.interrupted_entries()
    if earlier:
        sources.append(_iterate_entries(location, earlier))
    return EarlierEntries(sources)


async def _iterate_entries(location: BackupLocation, manifest: Manifest) -> AsyncIterator[InventoryEntry]:
    try:
        async for entries in location.entries(manifest):
            for entry in entries:
                yield entry
    except BackupDamaged as error:
        log.warning("backup.earlier_unreadable", error=str(error))  # the remaining objects are copied again


def _batches(listing: Path) -> Iterator[list[NeededObject]]:
    decode = msgspec.json.Decoder(NeededObject).decode
    with listing.open("rb") as lines:
        while batch := [decode(line) for line in islice(lines, BATCH_SIZE)]:
            yield batch


def _manifest(
    id_: str, info: SnapshotInfo, dump: list[BackupFile], copier: ObjectCopier, inventory: list[BackupFile]
) -> Manifest:
    return Manifest(
        id=id_,
        installation=info.installation,
        taken_at=info.at,
        gallery=__version__,
        schema=info.schema,
        postgres=info.postgres,
        dump=dump,
        inventory=inventory,
        objects=copier.done,
        bytes=copier.bytes,
        missing=copier.missing,
        tables=info.tables,
    )
