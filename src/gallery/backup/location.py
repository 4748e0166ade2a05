"""The location of backups: a directory or a bucket, read and written through `ObjectStore`."""

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import msgspec
import structlog

from gallery.adapters.objects.files import FileBackend
from gallery.adapters.objects.store import ObjectStore, open_objects_at
from gallery.backup.model import FORMAT_VERSION, BackupFile, InventoryEntry, Manifest
from gallery.errors import BackupDamaged, BackupNotFound, CannotStart, ObjectNotFound
from gallery.local_disk import permissions
from gallery.settings import S3Settings, Settings

log = structlog.get_logger(__name__)

PART_BYTES = 32 * 1024 * 1024  # of a dump; each part is written within one time-out
MANIFEST = "manifest.json"
ENTRY_DECODER = msgspec.json.Decoder(InventoryEntry)


class BackupLocation:
    """`name` is the directory or URL, for messages."""

    def __init__(self, objects: ObjectStore, name: str) -> None:
        self.objects = objects
        self.name = name

    async def complete_ids(self) -> list[str]:
        """The ids of complete backups, oldest first."""
        return sorted(id_ for id_, names in (await self.files()).items() if MANIFEST in names)

    async def files(self) -> dict[str, list[str]]:
        """The sorted file names of each backup, complete or not."""
        found: dict[str, list[str]] = {}
        async for batch in self.objects.list("backups"):
            for each in batch:
                _, id_, name = each.key.split("/", 2)
                found.setdefault(id_, []).append(name)
        return {id_: sorted(names) for id_, names in found.items()}

    async def manifest(self, id_: str | None = None) -> Manifest:
        """The manifest of this backup, or of the newest. Raises `BackupNotFound`, `BackupDamaged`, `CannotStart`."""
        complete = await self.complete_ids()
        if not complete or (id_ is not None and id_ not in complete):
            raise BackupNotFound(place=self.name, id=id_)
        chosen = id_ or complete[-1]
        try:
            manifest = msgspec.json.decode(await self._read(f"backups/{chosen}/{MANIFEST}"), type=Manifest)
        except msgspec.DecodeError as error:
            raise BackupDamaged(place=self.name, id=chosen, cause=str(error)) from error
        if manifest.format > FORMAT_VERSION:
            raise CannotStart(f"The backup {chosen} was made by a newer Gallery ({manifest.gallery}): upgrade Gallery.")
        return manifest

    async def put_manifest(self, manifest: Manifest) -> None:
        """Completes the backup: all its other files have reached the disk before."""
        await self.objects.put(f"backups/{manifest.id}/{MANIFEST}", msgspec.json.encode(manifest))

    async def put_dump(self, id_: str, dump: Path) -> list[BackupFile]:
        files: list[BackupFile] = []
        with dump.open("rb") as source:
            while part := await asyncio.to_thread(source.read, PART_BYTES):
                files.append(await self._put(f"backups/{id_}/database.{len(files):03}", part))
        return files

    async def get_dump(self, manifest: Manifest, target: Path) -> None:
        """Raises `BackupDamaged`."""
        with target.open("wb") as output:
            for file in manifest.dump:
                output.write(await self._get(file))

    async def put_entries(self, id_: str, number: int, entries: list[InventoryEntry]) -> BackupFile:
        return await self._put(f"backups/{id_}/objects.{number:06}", msgspec.json.Encoder().encode_lines(entries))

    async def entries(self, manifest: Manifest) -> AsyncIterator[list[InventoryEntry]]:
        """The inventory, sorted by key, in batches. Raises `BackupDamaged`."""
        for file in manifest.inventory:
            yield ENTRY_DECODER.decode_lines(await self._get(file))

    async def interrupted_entries(self) -> list[AsyncIterator[InventoryEntry]]:
        """The inventories of interrupted backups, each sorted by key."""
        return [
            self._read_interrupted(id_, [name for name in names if name.startswith("objects.")])
            for id_, names in (await self.files()).items()
            if MANIFEST not in names
        ]

    async def _read_interrupted(self, id_: str, names: list[str]) -> AsyncIterator[InventoryEntry]:
        try:
            for name in names:
                for entry in ENTRY_DECODER.decode_lines(await self._read(f"backups/{id_}/{name}")):
                    yield entry
        except msgspec.DecodeError as error:
            log.warning("backup.interrupted_unreadable", id=id_, error=str(error))  # its objects are copied again

    async def _put(self, key: str, content: bytes) -> BackupFile:
        await self.objects.put(key, content)
        return BackupFile(key, len(content), sha256(content).hexdigest())

    async def _get(self, file: BackupFile) -> bytes:
        try:
            content = await self._read(file.key)
        except ObjectNotFound:
            raise BackupDamaged(missing=file.key) from None
        if (len(content), sha256(content).hexdigest()) != (file.size, file.sha256):
            raise BackupDamaged(damaged=file.key)
        return content

    async def _read(self, key: str) -> bytes:
        _, chunks = await self.objects.open(key)
        return b"".join([chunk async for chunk in chunks])


def open_location(path_or_url: str, settings: Settings, *, create: bool = False) -> BackupLocation:
    """Opens a directory or `s3://bucket/prefix`. With `create`, makes a missing directory.

    Raises `BackupNotFound`, `CannotStart`.
    """
    s3 = _s3_settings(settings)
    if "://" not in path_or_url:
        directory = Path(path_or_url).expanduser().absolute()
        if not create and not directory.is_dir():
            raise BackupNotFound(place=str(directory))
        return BackupLocation(ObjectStore(FileBackend(_make_directory(directory)), timeout=s3.timeout), str(directory))
    if not path_or_url.startswith("s3://"):
        raise CannotStart(f"Cannot use {path_or_url} for backups: name a directory or s3://bucket/prefix.")
    return BackupLocation(open_objects_at(path_or_url, msgspec.structs.replace(settings, s3=s3)), path_or_url)


def _make_directory(path: Path) -> Path:
    try:
        permissions.make_folder(path)
    except OSError as error:
        raise CannotStart(f"The directory {path} cannot be used: {error}.") from error
    return path


def _s3_settings(settings: Settings) -> S3Settings:
    """The settings of the backups' bucket; unset ones default to those of the object store."""
    own = settings.backup
    given = {name: getattr(own, name) for name in ("endpoint", "access_key", "secret_key", "region")}
    return msgspec.structs.replace(settings.s3, **{name: value for name, value in given.items() if value})
