"""Verifies a backup: restores the dump into a scratch database, compares the counts, and reads the bytes again."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
from msgspec import Struct

from gallery.adapters.postgres import dump
from gallery.adapters.postgres.database import check_schema
from gallery.background import gather
from gallery.backup import snapshot
from gallery.backup.location import BackupLocation
from gallery.backup.model import Manifest, Progress, ProgressCallback, blob_key
from gallery.errors import BackupDamaged, CannotStart, DumpFailed, ObjectNotFound

CONCURRENCY = 8
PAGE_SIZE = 1000
ScratchConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CREATE_ENTRY = "CREATE TEMPORARY TABLE inventory_entry (key text PRIMARY KEY, size bigint NOT NULL, sha256 text)"
CREATE_STORED = "CREATE TEMPORARY TABLE stored_file (sha256 text PRIMARY KEY, size bigint NOT NULL)"
MISSING_OR_DAMAGED = """
    SELECT entry.sha256, min(key) AS key, file.size IS NULL AS missing
    FROM inventory_entry AS entry LEFT JOIN stored_file AS file USING (sha256)
    WHERE entry.sha256 IS NOT NULL AND file.size IS DISTINCT FROM entry.size GROUP BY entry.sha256, file.size
"""
UNLISTED_OBJECTS = """
    SELECT key FROM object
    WHERE remove_after IS NULL AND key NOT LIKE 'pictures/%'
      AND NOT EXISTS (SELECT FROM inventory_entry AS entry WHERE entry.key = object.key)
"""
DAMAGED_ORIGINALS = """
    SELECT entry.key FROM inventory_entry AS entry
    JOIN object USING (key) JOIN image ON image.id = image_id AND object.attempt IS NULL
    WHERE entry.sha256 IS NOT NULL AND (entry.sha256, entry.size) <> (image.sha256, image.size)
"""
MISSING_BEFORE = "SELECT key FROM inventory_entry WHERE sha256 IS NULL"
STORED_PAGE = """
    SELECT DISTINCT sha256, size FROM inventory_entry JOIN stored_file USING (sha256, size)
    WHERE sha256 > $1 ORDER BY sha256 LIMIT $2
"""


class FindingKind(StrEnum):
    """The kinds of findings. The last two were wrong in the library before the backup, which copies the state as is."""

    DUMP = "dump-damaged"
    COUNT = "count-differs"
    UNLISTED = "object-not-listed"
    MISSING = "object-missing"
    DAMAGED = "object-damaged"
    INVENTORY = "inventory-damaged"
    WAS_MISSING = "was-missing"
    WAS_DAMAGED = "was-damaged"


class Finding(Struct, frozen=True):
    found: FindingKind
    what: str


@asynccontextmanager
async def scratch_database(url: str, existing_url: str | None) -> AsyncIterator[str]:
    """A new database, dropped afterwards; or the existing one. Raises `DatabaseUnavailable`, `CannotStart`."""
    if existing_url:
        yield existing_url
        return
    name = f"gallery_verify_{uuid4().hex}"
    async with snapshot.open_connection(url) as db:
        try:
            await db.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        except asyncpg.InsufficientPrivilegeError:
            raise CannotStart(
                "Verifying a backup needs a temporary database, and this PostgreSQL role may not create one: "
                "run ALTER ROLE … CREATEDB, or name an empty database with --database-url."
            ) from None
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            await asyncio.shield(db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


class BackupVerifier:
    """The verification of one backup, with a scratch database at `url`."""

    def __init__(self, location: BackupLocation, manifest: Manifest, url: str) -> None:
        self._location = location
        self._manifest = manifest
        self._url = url
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def findings(self, share: float, on_progress: ProgressCallback) -> AsyncIterator[Finding]:
        """Yields every fault, and reads this share of the files (0 to 1). Raises `Unavailable`, `CannotStart`."""
        check_schema("The backup", self._manifest.schema)  # a backup that cannot be restored proves nothing
        failed = await self._restore(on_progress)
        if failed:
            yield failed
        async with snapshot.open_connection(self._url) as db:
            unreadable = await self._load_inventory(db)
            if unreadable:
                yield unreadable
            elif not failed:
                async for finding in self._check_rows(db):
                    yield finding
            async for finding in self._check_files(db):
                yield finding
            async for finding in self._check_bytes(db, share, on_progress):
                yield finding

    async def _restore(self, on_progress: ProgressCallback) -> Finding | None:
        async with snapshot.open_connection(self._url) as db:
            programs = await dump.get_tools(await snapshot.server_major(db))
        with tempfile.TemporaryDirectory(prefix="gallery-verify-") as folder:
            file = Path(folder) / "database.dump"
            try:
                await self._location.get_dump(self._manifest, file)
                on_progress(Progress("database", file.stat().st_size))
                await programs.restore(file, self._url)
            except (BackupDamaged, DumpFailed) as error:
                return Finding(FindingKind.DUMP, str(error))
        return None

    async def _load_inventory(self, db: ScratchConnection) -> Finding | None:
        """Loads the inventory and the listing of the location into temporary tables."""
        await db.execute(CREATE_ENTRY)
        await db.execute(CREATE_STORED)
        try:
            async for entries in self._location.entries(self._manifest):
                rows = [(entry.key, entry.size, entry.sha256) for entry in entries]
                await db.copy_records_to_table("inventory_entry", records=rows)
        except BackupDamaged as error:
            return Finding(FindingKind.INVENTORY, str(error))
        async for batch in self._location.objects.list("objects"):
            files = [(found.key.rpartition("/")[2], found.size) for found in batch]
            await db.copy_records_to_table("stored_file", records=files)
        return None

    async def _check_rows(self, db: ScratchConnection) -> AsyncIterator[Finding]:
        restored = await snapshot.count_rows(db)
        for table, rows in self._manifest.tables.items():
            if restored.get(table) != rows:
                yield Finding(FindingKind.COUNT, f"{table}: {restored.get(table)} instead of {rows}")
        for kind, query in ((FindingKind.UNLISTED, UNLISTED_OBJECTS), (FindingKind.WAS_DAMAGED, DAMAGED_ORIGINALS)):
            for row in await db.fetch(query):
                yield Finding(kind, row["key"])

    async def _check_files(self, db: ScratchConnection) -> AsyncIterator[Finding]:
        for row in await db.fetch(MISSING_BEFORE):
            yield Finding(FindingKind.WAS_MISSING, row["key"])
        for row in await db.fetch(MISSING_OR_DAMAGED):
            yield Finding(
                FindingKind.MISSING if row["missing"] else FindingKind.DAMAGED,
                f"{blob_key(row['sha256'])} of {row['key']}",
            )

    async def _check_bytes(
        self, db: ScratchConnection, share: float, on_progress: ProgressCallback
    ) -> AsyncIterator[Finding]:
        after, read = "", 0
        while rows := await db.fetch(STORED_PAGE, after, PAGE_SIZE):
            after = rows[-1]["sha256"]
            sample = [row for row in rows if random.random() < share]  # noqa: S311  a new sample each time
            for finding in await gather([self._check_blob(row["sha256"]) for row in sample]):
                if finding:
                    yield finding
            read += len(sample)
            on_progress(Progress("bytes", read))

    async def _check_blob(self, sha256: str) -> Finding | None:
        async with self._slots:
            try:
                read = await self._location.objects.digest(blob_key(sha256))
            except ObjectNotFound:
                return Finding(FindingKind.MISSING, blob_key(sha256))
        return None if read.sha256 == sha256 else Finding(FindingKind.DAMAGED, blob_key(sha256))
