"""PgBouncer in transaction mode: no state of Gallery's outlives a transaction on one of its servers."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from conftest import running_application
from databases import create_database
from doctor.findings import run_named_checks
from factories import CALLER, listen, post, upload_image
from gallery.adapters.postgres.database import SCHEMA_REVISION, wait_for_database
from gallery.cli.startup import ensure_schema
from gallery.errors import CannotStart
from gallery.images.list_query import ListQuery
from gallery.images.model import Edit
from gallery.settings import Settings
from gallery.wiring import open_processing
from pgbouncer_server import pgbouncer


@pytest.fixture
async def environment(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict]:
    async with pgbouncer(environment["DATABASE_URL"], tmp_path_factory.mktemp("bouncer")) as url:
        yield {**environment, "DATABASE_URL": url, "GALLERY_DATABASE__PGBOUNCER": "true"}


async def test_everything_works_through_it(environment, servers):
    """Twenty connections of Gallery's use at most three server connections."""
    async with running_application(environment) as (gallery, client), listen(client) as listener:
        async with open_processing(gallery) as processing:
            answers = await asyncio.gather(
                *(post(client, headers={"Idempotency-Key": f"key-{n}"}, title=f"Lake {n}") for n in range(20))
            )
            ids = [answer.json()["id"] for answer in answers]
            await asyncio.gather(*(processing.process(image) for image in ids[:2]))
        await listener.next("image.ready")
        await asyncio.gather(*(gallery.images.edit(CALLER, image, Edit(title="Dawn")) for image in ids))
        found = await asyncio.gather(*(gallery.images.page(CALLER, ListQuery(words=["dawn"])) for _ in range(20)))
        assert [len(page.items) for page in found] == [20] * 20
        assert [finding async for finding in gallery.verify.differences()] == []
        await gallery.sweep.run()
        name = urlsplit(environment["DATABASE_URL"]).path.strip("/")
        assert 1 <= await count_connections(name, str(servers.database.url)) <= 3


async def test_settings_of_one_transaction_do_not_reach_the_next(environment):
    """A search sets planner switches for its own transaction, on any server."""
    async with running_application(environment) as (gallery, _):
        await upload_image(gallery, title="Lake")
        await asyncio.gather(*(gallery.images.page(CALLER, ListQuery(words=["lake"])) for _ in range(10)))
        assert {await read_switch(gallery) for _ in range(10)} == {"on"}


async def test_migrations_bypass_it(servers, environment):
    """They set time-outs and hold a lock for longer than a transaction; through PgBouncer they name the setting."""
    direct = await create_database(str(servers.database.url), "an_empty_one", template="template0")
    through = f"{environment['DATABASE_URL'].rsplit('/', 1)[0]}/an_empty_one"
    settings = Settings.read({**environment, "DATABASE_URL": through})
    with pytest.raises(CannotStart, match="GALLERY_DATABASE__DIRECT_URL"):
        await ensure_schema(settings)
    bypass = msgspec.structs.replace(settings.database, direct_url=direct)
    await ensure_schema(msgspec.structs.replace(settings, database=bypass))
    assert await wait_for_database(settings.database) == SCHEMA_REVISION


async def test_the_doctor_works_through_it(environment):
    async with running_application(environment):
        found = await run_named_checks(environment, "slow-queries", "failed-images", "backups")
    assert {name: finding.says for name, finding in found.items() if finding.state in ("wrong", "unknown")} == {}


async def read_switch(gallery) -> str:
    async with gallery.database.primary() as db:
        return str(await db.fetchval("SHOW enable_seqscan"))


async def count_connections(name: str, server: str) -> int:
    """The number of PostgreSQL's connections to that database."""
    direct = await asyncpg.connect(server)
    try:
        return int(await direct.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name))
    finally:
        await direct.close()
