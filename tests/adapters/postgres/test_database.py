"""PostgreSQL that becomes unavailable and recovers; the schema that the code expects."""

import asyncpg
import msgspec
import pytest

from gallery.adapters.postgres import migrations
from gallery.adapters.postgres.database import SCHEMA_REVISION, open_database, wait_for_database
from gallery.errors import CannotStart, DatabaseUnavailable


def test_the_code_expects_the_newest_migration():
    assert migrations.newest_revision() == SCHEMA_REVISION


async def test_a_migrated_database_has_the_newest_revision(settings):
    assert await wait_for_database(settings.database) == SCHEMA_REVISION


async def test_cut_connections_are_replaced(gallery, servers):
    async with gallery.database.primary() as db:
        name = await db.fetchval("SELECT current_database()")
    cutter = await asyncpg.connect(str(servers.database.url))
    await cutter.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", name
    )
    await cutter.close()
    failures = 0
    for _ in range(5):
        try:
            await gallery.database.ping()
        except DatabaseUnavailable:
            failures += 1
    assert failures <= 1
    await gallery.database.ping()


async def test_a_slow_statement_is_unavailable(settings):
    hasty = msgspec.structs.replace(settings.database, timeout=0.2)
    async with open_database(hasty) as database:
        with pytest.raises(DatabaseUnavailable):
            async with database.primary() as db:
                await db.fetchval("SELECT pg_sleep(5)")


async def test_a_read_only_server_is_unavailable_for_writes(gallery):
    with pytest.raises(DatabaseUnavailable):
        async with gallery.database.writing() as db:
            await db.execute("SET TRANSACTION READ ONLY")
            await db.execute("DELETE FROM event")


async def test_a_table_that_a_migration_has_changed_is_unavailable_once_in_a_transaction(settings):
    """A connection of an older process has prepared its statements for the table as it was."""
    one = msgspec.structs.replace(settings.database, pool_size=1)
    async with open_database(one) as database, open_database(one) as migrating:

        async def read() -> None:
            async with database.writing() as db:
                await db.fetch("SELECT * FROM idempotency")

        await read()
        async with migrating.primary() as db:
            await db.execute("ALTER TABLE idempotency ADD COLUMN later bigint")
        with pytest.raises(DatabaseUnavailable):
            await read()
        await read()


async def test_a_wrong_statement_is_not_an_unavailable_server(gallery):
    with pytest.raises(asyncpg.UndefinedTableError):
        async with gallery.database.primary() as db:
            await db.fetch("SELECT * FROM no_such_table")
    with pytest.raises(asyncpg.exceptions.DataError):
        async with gallery.database.primary() as db:
            await db.fetchval("SELECT $1::integer", "not a number")


async def test_the_wait_for_a_missing_server_ends(settings):
    nowhere = msgspec.structs.replace(settings.database, url="postgresql://gallery@127.0.0.1:1/x")
    with pytest.raises(CannotStart, match="did not answer within 1 s"):
        await wait_for_database(nowhere, timeout_seconds=1)


async def test_a_wrong_password_is_not_waited_for(settings):
    url = settings.database.url
    wrong = url.replace(url.split(":")[2].split("@")[0], "wrong")
    with pytest.raises(CannotStart, match="DATABASE_URL"):
        await wait_for_database(msgspec.structs.replace(settings.database, url=wrong))


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.CannotConnectNowError("the database system is starting up"),
        ConnectionResetError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_every_error_of_a_cut_connection_means_unavailable(gallery, error):
    with pytest.raises(DatabaseUnavailable):
        async with gallery.database.primary():
            raise error
