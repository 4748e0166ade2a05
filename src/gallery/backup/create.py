"""Makes a backup: a snapshot of the rows, then the objects that it needs, then the manifest.

While it runs nothing is removed from the store (`backup/store.py: freeze`): what the snapshot needs stays to be copied.
Bytes are filed by their hash: what an earlier backup has copied, or one that was interrupted, is not copied again.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

import msgspec
import structlog

from gallery import __version__
from gallery.adapters.objects.store import Objects
from gallery.adapters.postgres.database import Database
from gallery.background import together
from gallery.backup import snapshot, store
from gallery.backup.model import Entry, File, Manifest, Progress, Tell, blob
from gallery.backup.place import MANIFEST, Place
from gallery.backup.snapshot import Needed, Taken
from gallery.errors import BackupDamaged, BackupForeign, ObjectNotFound, RemovedMeanwhile

log = structlog.get_logger(__name__)

BATCH = 500  # objects in one file of the inventory; an interrupted backup goes on after it
AT_ONCE = 8

STILL_NEEDED = "SELECT EXISTS (SELECT FROM object WHERE key = $1 AND remove_after IS NULL)"


class Create:
    def __init__(self, database: Database, objects: Objects, url: str) -> None:
        self._database = database
        self._objects = objects
        self._url = url

    async def run(self, place: Place, keep: int, tell: Tell) -> Manifest:
        """A new backup; of those at the place the newest `keep` stay.

        Raises `BackupForeign`, `BackupUnderWay`, `RemovedMeanwhile`, `DumpFailed`, `Unavailable`, `CannotStart`.
        """
        async with store.freeze(self._database, place.name) as id_:
            earlier = await _newest(place)
            with tempfile.TemporaryDirectory(prefix="gallery-backup-") as folder:
                taken = await snapshot.take(self._url, Path(folder), tell)
                if earlier and earlier.installation != taken.installation:
                    raise BackupForeign(place=place.name, installation=earlier.installation)
                dump = await place.put_dump(id_, taken.dump)
                copying = Copying(self._database, self._objects, place, await _known(place, earlier), Path(folder))
                manifest = _manifest(id_, taken, dump, copying, await copying.run(id_, taken, tell))
            await place.put_manifest(manifest)
            await store.created(self._database, id_)
            await _prune(place, keep)
        log.info("backup.created", id=id_, objects=manifest.objects, copied=copying.copied, missing=manifest.missing)
        return manifest


class Copying:
    """Files the objects of one listing. Counts what it has met."""

    def __init__(self, database: Database, objects: Objects, place: Place, known: "Known", folder: Path) -> None:
        self._database = database
        self._objects = objects
        self._place = place
        self._known = known
        self._folder = folder
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.done = self.bytes = self.copied = self.missing = 0

    async def run(self, id_: str, taken: Taken, tell: Tell) -> list[File]:
        """Returns the files of the inventory."""
        inventory: list[File] = []
        for batch in _batches(taken.listing):
            known = [await self._known.find(needed) for needed in batch]
            entries = await together([self._file(*both) for both in zip(batch, known, strict=True)])
            inventory.append(await self._place.put_entries(id_, len(inventory), entries))
            tell(Progress("objects", self.done, taken.objects))
        return inventory

    async def _file(self, needed: Needed, known: Entry | None) -> Entry:
        async with self._turns:
            entry = known if known and await self._is_there(known) else await self._copy(needed)
        self.done += 1
        self.bytes += entry.size
        return entry

    async def _copy(self, needed: Needed) -> Entry:
        with tempfile.NamedTemporaryFile(dir=self._folder) as file:
            try:
                read = await self._objects.digest(needed.key, file.file)
            except ObjectNotFound:
                return await self._missing(needed)
            file.flush()
            entry = Entry(needed.key, needed.since, read.size, read.sha256)
            self._compare(needed, entry)
            if not await self._is_there(entry):
                await self._place.objects.put(blob(read.sha256), Path(file.name))
                self.copied += 1
        return entry

    async def _is_there(self, entry: Entry) -> bool:
        return await self._place.objects.size(blob(str(entry.sha256))) == entry.size

    async def _missing(self, needed: Needed) -> Entry:
        async with self._database.primary() as db:
            if not await db.fetchval(STILL_NEEDED, needed.key):
                raise RemovedMeanwhile(key=needed.key)
        log.warning("backup.object_missing", key=needed.key)  # the library has lost it; nobody can copy it
        self.missing += 1
        return Entry(needed.key, needed.since)

    def _compare(self, needed: Needed, entry: Entry) -> None:
        if needed.sha256 not in (None, entry.sha256):
            log.warning("backup.original_damaged", key=needed.key)  # in the library already; as it is it is kept


class Known:
    """What earlier backups say of objects, looked up in the order of keys and read along with them."""

    def __init__(self, sources: list[AsyncIterator[Entry]]) -> None:
        self._sources = sources
        self._heads: list[Entry | None] = []

    async def find(self, needed: Needed) -> Entry | None:
        """What is known of that very object; keys must be asked for in their order."""
        if not self._heads:
            self._heads = [await anext(source, None) for source in self._sources]
        for place, source in enumerate(self._sources):
            while (head := self._heads[place]) and head.key < needed.key:
                self._heads[place] = await anext(source, None)
            if head and (head.key, head.since) == (needed.key, needed.since) and head.sha256:
                return head
        if needed.sha256 and needed.size is not None:  # an original: its hash stands in its image's row
            return Entry(needed.key, needed.since, needed.size, needed.sha256)
        return None


async def prune(place: Place, keep: int) -> None:
    """Remove all but the newest `keep` backups, what was left half done, and bytes that none of them needs.

    Holds the hashes of all objects in memory, about 100 bytes each.
    """
    kept = (await place.whole())[-keep:]
    needed: set[bytes] = set()
    for id_ in kept:
        async for entries in place.entries(await place.manifest(id_)):
            needed.update(bytes.fromhex(entry.sha256) for entry in entries if entry.sha256)
    for id_, names in (await place.files()).items():
        if id_ not in kept:
            names.sort(key=lambda name: name != MANIFEST)  # what is half gone is no backup
            await place.objects.delete([f"backups/{id_}/{name}" for name in names])
    async for batch in place.objects.list("objects"):
        found = [each.key for each in batch]
        await place.objects.delete([key for key in found if bytes.fromhex(key.rpartition("/")[2]) not in needed])


async def _prune(place: Place, keep: int) -> None:
    """Damage to an older backup is no reason to fail: nobody knows what it needs, so all stays."""
    try:
        await prune(place, keep)
    except BackupDamaged as error:
        log.warning("backup.not_pruned", place=place.name, error=str(error))


async def _newest(place: Place) -> Manifest | None:
    try:
        return await place.manifest() if await place.whole() else None
    except BackupDamaged as error:
        log.warning("backup.earlier_unreadable", error=str(error))  # it saves no work
        return None


async def _known(place: Place, earlier: Manifest | None) -> Known:
    sources = await place.interrupted()
    if earlier:
        sources.append(_one_by_one(place, earlier))
    return Known(sources)


async def _one_by_one(place: Place, manifest: Manifest) -> AsyncIterator[Entry]:
    try:
        async for entries in place.entries(manifest):
            for entry in entries:
                yield entry
    except BackupDamaged as error:
        log.warning("backup.earlier_unreadable", error=str(error))  # it saves no more work


def _batches(listing: Path) -> Iterator[list[Needed]]:
    decode = msgspec.json.Decoder(Needed).decode
    with listing.open("rb") as lines:
        while batch := [decode(line) for line in islice(lines, BATCH)]:
            yield batch


def _manifest(id_: str, taken: Taken, dump: list[File], copying: Copying, inventory: list[File]) -> Manifest:
    return Manifest(
        id=id_,
        installation=taken.installation,
        taken_at=taken.at,
        gallery=__version__,
        schema=taken.schema,
        postgres=taken.postgres,
        dump=dump,
        inventory=inventory,
        objects=copying.done,
        bytes=copying.bytes,
        missing=copying.missing,
        tables=taken.tables,
    )
