"""Proves a backup: restores the dump into a scratch database, compares what is counted, and reads the bytes again."""

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
from gallery.background import together
from gallery.backup import snapshot
from gallery.backup.model import Manifest, Progress, Tell, blob
from gallery.backup.place import Place
from gallery.errors import BackupDamaged, CannotStart, DumpFailed, ObjectNotFound

AT_ONCE = 8
PAGE = 1000
Scratch: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ENTRY = "CREATE TEMPORARY TABLE entry (key text PRIMARY KEY, size bigint NOT NULL, sha256 text)"
FILED = "CREATE TEMPORARY TABLE filed (sha256 text PRIMARY KEY, size bigint NOT NULL)"
NOT_THERE = """
    SELECT entry.sha256, min(key) AS key, filed.size IS NULL AS missing
    FROM entry LEFT JOIN filed USING (sha256)
    WHERE entry.sha256 IS NOT NULL AND filed.size IS DISTINCT FROM entry.size GROUP BY entry.sha256, filed.size
"""
NOT_LISTED = """
    SELECT key FROM object WHERE remove_after IS NULL AND NOT EXISTS (SELECT FROM entry WHERE entry.key = object.key)
"""
NOT_THE_ORIGINAL = """
    SELECT entry.key FROM entry JOIN object USING (key) JOIN image ON image.id = image_id AND object.attempt IS NULL
    WHERE entry.sha256 IS NOT NULL AND (entry.sha256, entry.size) <> (image.sha256, image.size)
"""
LOST_BEFORE = "SELECT key FROM entry WHERE sha256 IS NULL"
DRAWN = """
    SELECT DISTINCT sha256, size FROM entry JOIN filed USING (sha256, size) WHERE sha256 > $1 ORDER BY sha256 LIMIT $2
"""


class Wrong(StrEnum):
    """What may be found. The last two were so in the library already: a backup keeps what there is."""

    DUMP = "dump-damaged"
    COUNT = "count-differs"
    UNLISTED = "object-not-listed"
    MISSING = "object-missing"
    DAMAGED = "object-damaged"
    INVENTORY = "inventory-damaged"
    WAS_MISSING = "was-missing"
    WAS_DAMAGED = "was-damaged"


class Finding(Struct, frozen=True):
    found: Wrong
    what: str


@asynccontextmanager
async def scratch(url: str, given: str | None) -> AsyncIterator[str]:
    """An empty database beside ours, dropped afterwards; or the `given` one. Raises `DatabaseAway`, `CannotStart`."""
    if given:
        yield given
        return
    name = f"gallery_verify_{uuid4().hex}"
    async with snapshot.connected(url) as db:
        try:
            await db.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        except asyncpg.InsufficientPrivilegeError:
            raise CannotStart(
                "To verify a backup we make a database for a while, and PostgreSQL does not let us: "
                "allow it (ALTER ROLE … CREATEDB), or name an empty database with --database-url."
            ) from None
        try:
            yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        finally:
            await asyncio.shield(db.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


class Proof:
    """The verification of one backup, with a scratch database at `url`."""

    def __init__(self, place: Place, manifest: Manifest, url: str) -> None:
        self._place = place
        self._manifest = manifest
        self._url = url
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def findings(self, share: float, tell: Tell) -> AsyncIterator[Finding]:
        """All that is wrong, with this share of the files read. Raises `Unavailable`, `CannotStart`."""
        failed = await self._restore(tell)
        if failed:
            yield failed
        async with snapshot.connected(self._url) as db:
            unreadable = await self._load(db)
            if unreadable:
                yield unreadable
            elif not failed:
                async for finding in self._rows(db):
                    yield finding
            async for finding in self._files(db):
                yield finding
            async for finding in self._bytes(db, share, tell):
                yield finding

    async def _restore(self, tell: Tell) -> Finding | None:
        async with snapshot.connected(self._url) as db:
            programs = await dump.programs(await snapshot.server_major(db))
        with tempfile.TemporaryDirectory(prefix="gallery-verify-") as folder:
            file = Path(folder) / "database.dump"
            try:
                await self._place.get_dump(self._manifest, file)
                tell(Progress("database", file.stat().st_size))
                await programs.restore(file, self._url)
            except (BackupDamaged, DumpFailed) as error:
                return Finding(Wrong.DUMP, str(error))
        return None

    async def _load(self, db: Scratch) -> Finding | None:
        """The inventory, and what is at the place, as tables."""
        await db.execute(ENTRY)
        await db.execute(FILED)
        try:
            async for entries in self._place.entries(self._manifest):
                rows = [(entry.key, entry.size, entry.sha256) for entry in entries]
                await db.copy_records_to_table("entry", records=rows)
        except BackupDamaged as error:
            return Finding(Wrong.INVENTORY, str(error))
        async for batch in self._place.objects.list("objects"):
            files = [(found.key.rpartition("/")[2], found.size) for found in batch]
            await db.copy_records_to_table("filed", records=files)
        return None

    async def _rows(self, db: Scratch) -> AsyncIterator[Finding]:
        restored = await snapshot.count(db)
        for table, rows in self._manifest.tables.items():
            if restored.get(table) != rows:
                yield Finding(Wrong.COUNT, f"{table}: {restored.get(table)} instead of {rows}")
        for wrong, asked in ((Wrong.UNLISTED, NOT_LISTED), (Wrong.WAS_DAMAGED, NOT_THE_ORIGINAL)):
            for row in await db.fetch(asked):
                yield Finding(wrong, row["key"])

    async def _files(self, db: Scratch) -> AsyncIterator[Finding]:
        for row in await db.fetch(LOST_BEFORE):
            yield Finding(Wrong.WAS_MISSING, row["key"])
        for row in await db.fetch(NOT_THERE):
            yield Finding(Wrong.MISSING if row["missing"] else Wrong.DAMAGED, f"{blob(row['sha256'])} of {row['key']}")

    async def _bytes(self, db: Scratch, share: float, tell: Tell) -> AsyncIterator[Finding]:
        after, read = "", 0
        while rows := await db.fetch(DRAWN, after, PAGE):
            after = rows[-1]["sha256"]
            drawn = [row for row in rows if random.random() < share]  # noqa: S311  other ones each time
            for finding in await together([self._read(row["sha256"]) for row in drawn]):
                if finding:
                    yield finding
            read += len(drawn)
            tell(Progress("bytes", read))

    async def _read(self, sha256: str) -> Finding | None:
        async with self._turns:
            try:
                read = await self._place.objects.digest(blob(sha256))
            except ObjectNotFound:
                return Finding(Wrong.MISSING, blob(sha256))
        return None if read.sha256 == sha256 else Finding(Wrong.DAMAGED, blob(sha256))
