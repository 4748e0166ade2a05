"""PgBouncer in transaction mode: nothing of ours outlives a transaction on one of its servers."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import msgspec
import pytest

from bouncer import pgbouncer
from cast import MAYA, listening, post, uploaded
from conftest import housed
from databases import database_of
from doctor.looking import look
from gallery.adapters.postgres.database import SCHEMA, wait_for_database
from gallery.cli.startup import bring_up_to_date
from gallery.errors import CannotStart
from gallery.images.list_query import Question
from gallery.images.model import Edit
from gallery.settings import Settings
from gallery.wiring import open_processing


@pytest.fixture
async def environment(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict]:
    async with pgbouncer(environment["DATABASE_URL"], tmp_path_factory.mktemp("bouncer")) as url:
        yield {**environment, "DATABASE_URL": url, "GALLERY_DATABASE__PGBOUNCER": "true"}


async def test_everything_works_through_it(environment, servers):
    """Twenty connections of ours are three servers of its."""
    async with housed(environment) as (gallery, client), listening(client) as listener:
        async with open_processing(gallery) as processing:
            answers = await asyncio.gather(
                *(post(client, headers={"Idempotency-Key": f"key-{n}"}, title=f"Lake {n}") for n in range(20))
            )
            ids = [answer.json()["id"] for answer in answers]
            await asyncio.gather(*(processing.process(image) for image in ids[:2]))
        await listener.next("image.ready")
        await asyncio.gather(*(gallery.images.edit(MAYA, image, Edit(title="Dawn")) for image in ids))
        found = await asyncio.gather(*(gallery.images.page(MAYA, Question(words=["dawn"])) for _ in range(20)))
        assert [len(page.items) for page in found] == [20] * 20
        assert [finding async for finding in gallery.verify.differences()] == []
        await gallery.sweep.run()
        name = urlsplit(environment["DATABASE_URL"]).path.strip("/")
        assert 1 <= await servers_of(name, str(servers.database.url)) <= 3


async def test_what_one_transaction_sets_the_next_does_not_see(environment):
    """A search sets planner switches for itself alone, whichever server it gets."""
    async with housed(environment) as (gallery, _):
        await uploaded(gallery, title="Lake")
        await asyncio.gather(*(gallery.images.page(MAYA, Question(words=["lake"])) for _ in range(10)))
        assert {await switch(gallery) for _ in range(10)} == {"on"}


async def test_migrations_go_past_it(servers, environment):
    """They set time-outs and hold a lock for longer than a transaction; started through it, they say what to set."""
    direct = await database_of(str(servers.database.url), "an_empty_one", of="template0")
    through = f"{environment['DATABASE_URL'].rsplit('/', 1)[0]}/an_empty_one"
    settings = Settings.read({**environment, "DATABASE_URL": through})
    with pytest.raises(CannotStart, match="GALLERY_DATABASE__DIRECT_URL"):
        await bring_up_to_date(settings)
    straight = msgspec.structs.replace(settings.database, direct_url=direct)
    await bring_up_to_date(msgspec.structs.replace(settings, database=straight))
    assert await wait_for_database(settings.database) == SCHEMA


async def test_the_doctor_comes_through_it(environment):
    async with housed(environment):
        found = await look(environment, "slow-queries", "failed-images", "backups")
    assert {name: finding.says for name, finding in found.items() if finding.state in ("wrong", "unknown")} == {}


async def switch(gallery) -> str:
    async with gallery.database.primary() as db:
        return str(await db.fetchval("SHOW enable_seqscan"))


async def servers_of(name: str, server: str) -> int:
    """How many connections PostgreSQL has on that database."""
    direct = await asyncpg.connect(server)
    try:
        return int(await direct.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name))
    finally:
        await direct.close()
