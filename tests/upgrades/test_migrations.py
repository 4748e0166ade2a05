"""A database in use is migrated once, also by several processes, and without blocking its clients."""

import asyncio
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from gallery.adapters.postgres import migrations
from gallery.adapters.postgres.database import SCHEMA_REVISION
from gallery.adapters.postgres.migrations import migrate
from gallery.cli.startup import migrate_in_subprocess
from gallery.errors import CannotStart
from gallery_processes import base_environment, free_port, run_gallery

ADD = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated)
    VALUES ($1, 'maya', $2, 'x.jpg', 'image/jpeg', 1, $2, false)
"""
LOCK = 7_261_001
ROOT = Path(__file__).resolve().parents[2]
REVISIONS = sorted(path.name[:3] for path in ROOT.glob("migrations/versions/[0-9]*.py"))


@asynccontextmanager
async def connected(database):
    """A connection with the time-out of the API."""
    db = await asyncpg.connect(database, command_timeout=10)
    try:
        yield db
    finally:
        await db.close()


async def test_three_processes_that_start_at_once_migrate_once(environment, database, tmp_path):
    empty = {**environment, "DATABASE_URL": database}
    async with (
        run_gallery(empty, tmp_path / "a", "migrate") as one,
        run_gallery(empty, tmp_path / "b", "migrate") as two,
        run_gallery(empty, tmp_path / "c", "migrate") as three,
    ):
        codes = [await each.process.wait() for each in (one, two, three)]
        assert codes == [0, 0, 0], one.log_text() + two.log_text() + three.log_text()
    async with connected(database) as db:
        assert await db.fetch("SELECT version_num FROM alembic_version") == [(SCHEMA_REVISION,)]
        assert await db.fetchval("SELECT count(*) FROM installation") == 1


async def test_a_migration_needs_the_database_only(database, tmp_path):
    """No Valkey, no store, no secret of theirs: as the pod and the container that migrate are given."""
    given = {**base_environment(), "DATABASE_URL": database, "GALLERY_DATA_DIR": str(tmp_path / "data")}
    async with run_gallery(given, tmp_path / "logs", "migrate") as alone:
        assert await alone.process.wait() == 0, alone.log_text()
        assert f"at schema {SCHEMA_REVISION}" in alone.log_text()
    assert not (tmp_path / "data").exists()


async def test_an_unavailable_database_ends_the_subprocess_with_one_sentence():
    with pytest.raises(CannotStart) as failed:
        await migrate_in_subprocess(f"postgresql://maya:lake@127.0.0.1:{free_port()}/none")
    assert failed.value.detail.startswith("The database could not be migrated: PostgreSQL is unavailable: ")
    assert "lake" not in failed.value.detail


async def test_every_step_is_taken_while_the_first_versions_statements_run(database):
    """Rows are written at each schema, and the first schema's statements go on through all of them."""
    await asyncio.to_thread(migrate, database, REVISIONS[0])
    stop, written = asyncio.Event(), []

    async def work():
        async with connected(database) as db:
            while not stop.is_set():
                image = uuid4()
                await db.execute(ADD, image, str(image))
                await db.execute("UPDATE image SET title = 'x', version = version + 1 WHERE id = $1", image)
                assert await db.fetchval("SELECT title FROM image WHERE id = $1", image) == "x"
                written.append(image)
                await db.execute("UPDATE image SET deleted_at = now() WHERE id = $1", written[len(written) // 2])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())
        tasks.create_task(work())
        for revision in REVISIONS[1:]:
            count = len(written)
            while len(written) < count + 5:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(migrate, database, revision)
        count = len(written)
        while len(written) < count + 5:
            await asyncio.sleep(0.01)
        stop.set()
    async with connected(database) as db:
        assert {row["id"] for row in await db.fetch("SELECT id FROM image")} == set(written)


async def test_a_step_that_finds_a_table_in_use_lets_others_pass(database):
    """A report that reads for minutes must not block other statements behind a migration that waits for it."""
    await asyncio.to_thread(migrate, database, "002")
    async with connected(database) as report, connected(database) as api:
        reading = report.transaction()
        await reading.start()
        await report.fetch("SELECT FROM image")
        with pytest.raises(CannotStart, match="keeps a table in use"):
            await asyncio.to_thread(migrate, database, "003", max_tries=1)
        migrating = asyncio.create_task(asyncio.to_thread(migrate, database, "003"))
        for _ in range(12):
            await api.fetch("SELECT FROM image")  # within its ten seconds
            await asyncio.sleep(0.1)
        assert not migrating.done()
        await reading.rollback()
        await migrating
        assert await api.fetchval("SELECT version_num FROM alembic_version") == "003"


async def test_a_process_that_waits_for_the_lock_delays_no_index(database):
    """CREATE INDEX CONCURRENTLY waits for every snapshot; a second process that waited in a query would have one."""
    await asyncio.to_thread(migrate, database)
    async with connected(database) as db:
        await db.execute("SELECT pg_advisory_lock($1)", LOCK)
        waiting = asyncio.create_task(asyncio.to_thread(migrate, database))
        while not await db.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%'"):
            await asyncio.sleep(0.02)
        await db.execute("CREATE INDEX CONCURRENTLY another ON image (title)")
        assert not waiting.done()
        await db.execute("SELECT pg_advisory_unlock($1)", LOCK)
        await waiting


INDEXING = """
from alembic import op
from gallery.adapters.postgres.migrations import outside_transaction

revision, down_revision = "999", "{newest}"

def upgrade():
    with outside_transaction(op):
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS another")
        op.execute("CREATE INDEX CONCURRENTLY another ON image (title)")
    assert op.get_bind().exec_driver_sql("SHOW lock_timeout").scalar() == "2s"
"""


async def test_an_index_is_made_outside_a_transaction_however_long_that_takes(database, tmp_path, monkeypatch):
    """It waits for open transactions, for longer than a step with a lock may."""
    folder = shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    (folder / "versions" / "999_index.py").write_text(INDEXING.format(newest=SCHEMA_REVISION))
    await asyncio.to_thread(migrate, database)
    monkeypatch.setattr(migrations, "_folder", lambda: folder)
    async with connected(database) as report, connected(database) as api:
        reading = report.transaction(isolation="repeatable_read")
        await reading.start()
        await report.fetch("SELECT FROM event")
        migrating = asyncio.create_task(asyncio.to_thread(migrate, database, max_tries=1))
        for _ in range(15):
            await api.execute(ADD, image := uuid4(), str(image))
            await asyncio.sleep(0.2)
        assert not migrating.done()
        await reading.rollback()
        await migrating
        assert await api.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'another'::regclass")


@pytest.mark.parametrize("words", [("serve",), ("worker",), ("migrate",)])
async def test_a_newer_schema_is_refused_in_one_sentence(environment, settings, tmp_path, words):
    async with connected(str(settings.database.url)) as db:
        await db.execute("UPDATE alembic_version SET version_num = '999'")
    async with run_gallery(environment, tmp_path / "logs", *words) as refused:
        assert await refused.process.wait() == 2
        [sentence] = refused.log_text().splitlines()
        assert sentence == (
            f"gallery: The database is at schema 999, newer than this Gallery's {SCHEMA_REVISION}: upgrade Gallery."
        )
