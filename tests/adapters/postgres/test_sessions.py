"""A connection is given back to its pool without a reset: no statement of Gallery's may change its session."""

import ast
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import msgspec
import pytest

import gallery
from factories import CALLER, post, upload_image
from gallery.adapters.postgres.database import Connection, Database, open_database
from gallery.errors import DatabaseUnavailable
from gallery.images.list_query import ListQuery
from gallery.images.model import Edit

SOURCES = Path(gallery.__file__).parent
MIGRATIONS = SOURCES.parents[1] / "migrations" / "versions"
NOT_FROM_THE_POOL = ("backup/restore.py", "backup/verify.py")  # psql's session, and one of a temporary database
SESSION_STATEMENT = re.compile(
    r"^\s*(SET\s+(?!LOCAL\b|TRANSACTION\b|CONSTRAINTS\b)(SESSION\s+)?[a-z_.]+\s*(=|TO\b)|RESET\b|LISTEN\b|PREPARE\b|LOAD\b)"
    r"|\bWITH\s+HOLD\b|\b(CREATE|INTO)\s+TEMP(?!.*\bON\s+COMMIT\s+DROP\b)|\bpg_(try_)?advisory_lock|\bset_config\((?![^)]*,\s*true\s*\))",
    re.DOTALL,
)
SESSION_CALLS = {"add_listener", "add_log_listener"}  # of asyncpg, which listens or keeps callbacks
SESSION_STATE = """
    SELECT 'setting ' || name FROM pg_settings WHERE source = 'session' AND setting <> reset_val
    UNION ALL SELECT 'listens to ' || channel FROM pg_listening_channels() AS channel
    UNION ALL SELECT 'advisory lock' FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable
    UNION ALL SELECT 'table ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    UNION ALL SELECT 'prepared ' || name FROM pg_prepared_statements WHERE from_sql
"""


@pytest.mark.parametrize(
    ("statement", "changes"),
    [
        ("SET work_mem = '1GB'", True),
        ("SET SESSION timezone TO 'UTC'", True),
        ("LISTEN image", True),
        ("SELECT set_config('work_mem', '1GB', false)", True),
        ("SELECT pg_try_advisory_lock(1)", True),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", True),
        ("CREATE TEMP TABLE x (y int)", True),
        ("CREATE TEMP TABLE x (y int)\n ON COMMIT DROP", False),
        ("SET LOCAL enable_seqscan = off", False),
        ("SET TRANSACTION READ ONLY", False),
        ("SET CONSTRAINTS ALL IMMEDIATE", False),
        ("UPDATE image\n SET title = 'x'", False),
        ("SELECT pg_try_advisory_xact_lock(1), set_config('work_mem', '1GB', true)", False),
    ],
)
def test_statements_that_change_a_session_are_recognized(statement, changes):
    assert bool(SESSION_STATEMENT.search(statement)) is changes


def test_no_statement_changes_its_session():
    found = {
        f"{path.relative_to(SOURCES.parents[1])}:{line}: {statement.strip()[:80]}"
        for path in [*SOURCES.rglob("*.py"), *MIGRATIONS.glob("*.py")]
        if not path.as_posix().endswith(NOT_FROM_THE_POOL)
        for line, statement in statements(path)
        if SESSION_STATEMENT.search(statement)
    }
    assert found == set()


def test_no_connection_is_listened_to():
    calls = {
        node.func.attr
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert calls & SESSION_CALLS == set()
    assert "fetchrow" in calls


async def test_every_use_leaves_its_connection_as_it_was(gallery, client, processing):
    image = (await post(client, title="Lake", headers={"Idempotency-Key": "one"})).json()["id"]
    await processing.process(image)
    await gallery.images.edit(CALLER, image, Edit(title="Dawn"))
    assert len((await gallery.images.page(CALLER, ListQuery(words=["dawn"]))).items) == 1
    assert (await client.get("/api/v1/images?search=dawn&sort=title")).status_code == 200
    assert (await client.get("/metrics")).status_code == 200
    assert [finding async for finding in gallery.verify.differences()] == []
    await gallery.images.delete(CALLER, image)
    await gallery.sweep.run()
    assert await session_states(gallery.database, gallery.settings.database.pool_size) == set()


async def test_a_change_of_a_session_would_be_seen(database):
    async with database.primary() as db:
        await db.execute("SET work_mem = '5MB'; LISTEN image; SELECT pg_advisory_lock(1); CREATE TEMP TABLE x (y int)")
    assert await session_states(database, 1) == {"setting work_mem", "listens to image", "advisory lock", "table x"}


async def test_a_connection_is_given_back_without_a_statement(gallery, database):
    async with database.primary() as db:
        backend = await db.fetchval("SELECT pg_backend_pid()")
    async with gallery.database.primary() as db:
        last = await db.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", backend)
    assert last == "SELECT pg_backend_pid()"


async def test_an_open_transaction_is_rolled_back(database, gallery):
    image = await upload_image(gallery)
    async with database.primary() as db:
        await db.execute("BEGIN; UPDATE image SET title = 'Night'")
    async with database.primary() as db:
        assert not db.is_in_transaction()
        assert await db.fetchval("SELECT title FROM image WHERE id = $1", image.id) == image.title


async def test_a_failed_transaction_does_not_reach_the_next_use(database):
    async with database.primary() as db:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await db.execute("BEGIN; SELECT 1 / 0")
    async with database.primary() as db:
        assert await db.fetchval("SELECT 1") == 1


async def test_a_cancelled_statement_does_not_reach_the_next_use(settings):
    async with open_database(msgspec.structs.replace(settings.database, timeout=0.3, pool_size=1)) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.primary() as db:
                await db.fetchval("SELECT pg_sleep(5)")
        for number in range(20):
            async with database.primary() as db:
                assert await db.fetchval("SELECT $1::int", number) == number


@pytest.fixture
async def database(settings) -> AsyncIterator[Database]:
    """A pool of one connection, so that each use follows the other on it."""
    async with open_database(msgspec.structs.replace(settings.database, pool_size=1)) as database:
        yield database


async def session_states(database: Database, connections: int) -> set[str]:
    """All that the sessions of the pool have kept; `connections` is its size."""
    async with AsyncExitStack() as stack:
        pool: list[Connection] = [await stack.enter_async_context(database.primary()) for _ in range(connections)]
        return {row[0] for db in pool for row in await db.fetch(SESSION_STATE)}


def statements(path: Path) -> Iterator[tuple[int, str]]:
    """Each statement in the texts of a source file, and its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for statement in node.value.split(";"):
                yield node.lineno, statement
