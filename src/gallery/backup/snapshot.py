"""One state of the database: its dump, its counts, and the objects that it needs, all from one exported snapshot."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec
from msgspec import Struct

from gallery.adapters.postgres import dump
from gallery.adapters.postgres.pools import UNAVAILABLE_ERRORS
from gallery.backup.model import Progress, ProgressCallback
from gallery.errors import DatabaseUnavailable, describe_error

PREFETCH_ROWS = 1000
ENCODER = msgspec.json.Encoder()

# Pictures on demand are left out: they can be made again.
NEEDED_OBJECTS = """
    SELECT object.key, object.created_at, image.size, image.sha256 FROM object
    LEFT JOIN image ON image.id = object.image_id AND object.attempt IS NULL
    WHERE object.remove_after IS NULL AND object.key NOT LIKE 'pictures/%' ORDER BY object.key COLLATE "C"
"""
# Other extensions, added by an administrator, are not part of Gallery and may need an administrator to be restored.
EXTENSIONS = """
    SELECT DISTINCT extname::text FROM pg_extension JOIN pg_available_extension_versions ON name = extname
    WHERE trusted ORDER BY 1
"""
TABLES = """
    SELECT tablename::text AS name, format('SELECT count(*) FROM %I.%I', schemaname, tablename) AS counting
    FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename
"""


class NeededObject(Struct, frozen=True, array_like=True):
    """An object that the snapshot's rows need; only originals have a size and a hash."""

    key: str
    created_at: datetime
    size: int | None
    sha256: str | None


class SnapshotInfo(Struct, frozen=True):
    """The facts of a snapshot. `listing` is a file of `NeededObject`, a JSON line each, sorted by key."""

    at: datetime
    installation: str
    schema: str
    postgres: int
    tables: dict[str, int]
    dump: Path
    listing: Path
    objects: int


@asynccontextmanager
async def open_connection(url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection outside of the pool, for long work. Raises `DatabaseUnavailable`."""
    try:
        connection = await asyncpg.connect(url, timeout=10, server_settings={"application_name": "gallery backup"})
        try:
            yield connection
        finally:
            await connection.close(timeout=5)
    except UNAVAILABLE_ERRORS as error:
        raise DatabaseUnavailable(cause=describe_error(error)) from error


async def take(url: str, folder: Path, on_progress: ProgressCallback) -> SnapshotInfo:
    """Writes the dump and the listing into `folder`. Raises `DatabaseUnavailable`, `DumpFailed`, `CannotStart`."""
    async with open_connection(url) as db:
        major = await server_major(db)
        programs = await dump.get_tools(major)
        async with db.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await db.fetchval("SELECT pg_export_snapshot()")
            extensions = [row["extname"] for row in await db.fetch(EXTENSIONS)]
            taken = SnapshotInfo(
                at=await db.fetchval("SELECT now()"),
                installation=str(await db.fetchval("SELECT id FROM installation")),
                schema=await db.fetchval("SELECT version_num FROM alembic_version"),
                postgres=major,
                tables=await count_rows(db),
                dump=folder / "database.dump",
                listing=folder / "listing",
                objects=await _write_listing(db, folder / "listing"),
            )
            on_progress(Progress("dump", 0))
            await programs.dump(url, snapshot, extensions, taken.dump)
    on_progress(Progress("dump", taken.dump.stat().st_size))
    return taken


async def count_rows(db: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """The number of rows of each table."""
    return {row["name"]: await db.fetchval(row["counting"]) for row in await db.fetch(TABLES)}


async def server_major(db: "asyncpg.Connection[asyncpg.Record]") -> int:
    return int(await db.fetchval("SHOW server_version_num")) // 10_000


async def _write_listing(db: "asyncpg.Connection[asyncpg.Record]", target: Path) -> int:
    listed = 0
    with target.open("wb") as file:
        async for row in db.cursor(NEEDED_OBJECTS, prefetch=PREFETCH_ROWS):
            file.write(ENCODER.encode(NeededObject(*row)) + b"\n")
            listed += 1
    return listed
