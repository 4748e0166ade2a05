"""Read replicas: used where they may be, and never older than a change that a client was told of.

The galleries are API processes of one installation, with a real primary and its real streaming replica, whose replay
the tests can pause.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
import redis.asyncio as redis

import replication
from conftest import serve_api
from doctor.findings import verdict
from factories import listen, upload_image
from gallery.access.model import Caller, Owner, Scope
from gallery.adapters.postgres import replicas
from gallery.adapters.postgres.replicas import NOT_PROBED_YET
from gallery.errors import DatabaseUnavailable, ImageNotFound
from gallery.images.change_tokens import image_subject, owner_subject
from gallery.images.list_query import ListQuery
from gallery.images.model import Edit
from gallery.settings import Settings
from gallery.wiring import open_gallery, open_processing
from replication import PostgresServer

MAYA, BEN = (Caller(owner=Owner(name), scopes=frozenset(Scope)) for name in ("maya", "ben"))
SEARCH = ListQuery(words=["lake"])  # searches go to a replica, with and without a cache
IS_REPLICA = "SELECT pg_is_in_recovery()"


@pytest.fixture(scope="module")
async def primary_and_replica(tmp_path_factory) -> AsyncIterator[tuple[PostgresServer, PostgresServer]]:
    async with replication.primary_and_replica(tmp_path_factory.mktemp("replication")) as servers:
        yield servers


@pytest.fixture
async def environment(environment, primary_and_replica) -> dict[str, str]:
    """With a Valkey that has run for a while, so that no recorded position can be missing."""
    primary, replica = primary_and_replica
    async with redis.from_url(environment["REDIS_URL"]) as valkey:
        await valkey.set(f"{{{environment['GALLERY_REDIS__PREFIX']}:replicas}}:born", 1)
    own = {"DATABASE_URL": primary.url, "DATABASE_READ_REPLICA_URL": replica.url}
    return {**environment, **own, "GALLERY_DATABASE__REPLICA_MAX_LAG": "60", "GALLERY_REDIS__TIMEOUT": "10"}


@asynccontextmanager
async def application_with_replica(environment: dict[str, str], **more: str):
    """An application whose replica is in use."""
    async with open_gallery(Settings.read({**environment, **more})) as gallery:
        await wait_until_answered(gallery, by_replica=True)
        yield gallery


@asynccontextmanager
async def pause_replay(replica: PostgresServer):
    await replica.fetch_value("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        await replica.fetch_value("SELECT pg_wal_replay_resume()")


async def answered_by_replica(gallery, subject: str = "nothing") -> bool:
    return bool(await gallery.database.read(lambda db: db.fetchval(IS_REPLICA), subject))


async def wait_until_answered(gallery, subject: str = "nothing", *, by_replica: bool, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while await answered_by_replica(gallery, subject) is not by_replica:
            await asyncio.sleep(0.02)


async def wait_until_probed(gallery) -> None:
    """After the first read, wait until each replica has been probed."""
    assert not await answered_by_replica(gallery)
    async with asyncio.timeout(20):
        while any(replica.problem == NOT_PROBED_YET for replica in gallery.database.replicas):
            await asyncio.sleep(0.02)


async def test_a_writer_reads_its_own_writes_through_any_process(environment, primary_and_replica):
    async with application_with_replica(environment) as one, application_with_replica(environment) as another:
        image = await upload_image(one, caller=MAYA, title="Lake")
        await wait_until_answered(another, image_subject(image.id), by_replica=True)
        async with pause_replay(primary_and_replica[1]):
            await one.images.edit(MAYA, image.id, Edit(title="Lake at dawn"))
            new = await upload_image(one, caller=MAYA, title="Another lake")
            for gallery in (one, another):
                assert (await gallery.images.get(MAYA, image.id)).title == "Lake at dawn"
                assert (await gallery.images.get(MAYA, new.id)).title == "Another lake"
                assert [i.id for i in (await gallery.images.page(MAYA, SEARCH)).items] == [new.id, image.id]
                assert len(await gallery.images.timeline(MAYA, new.id)) == 1
                assert await answered_by_replica(
                    gallery, owner_subject(BEN.owner)
                )  # other owners still read from the replica
            await one.images.delete(MAYA, image.id)
            with pytest.raises(ImageNotFound):
                await another.images.get(MAYA, image.id)
        await wait_until_answered(another, owner_subject(MAYA.owner), by_replica=True)
        assert [i.id for i in (await another.images.page(MAYA, SEARCH)).items] == [new.id]


async def test_after_an_event_its_client_reads_nothing_older(environment, primary_and_replica):
    """The worker writes, one process sends the event, another is read."""
    async with (
        application_with_replica(environment) as one,
        application_with_replica(environment) as another,
        application_with_replica(environment) as worker,
        serve_api(one) as url,
        open_processing(worker) as processing,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
        listen(client) as listener,
    ):
        image = await upload_image(worker)
        await wait_until_answered(another, image_subject(image.id), by_replica=True)
        async with pause_replay(primary_and_replica[1]):
            await processing.process(image.id)
            await listener.next("image.ready")
            assert (await another.images.get(MAYA, image.id)).rendition("960", "webp")
            assert (await another.cached_reads.image(MAYA, image.id)).version > image.version


async def test_without_valkey_the_primary_is_read(environment, primary_and_replica):
    """Without Valkey the position that a replica needs is unknown."""
    async with application_with_replica(environment) as one, application_with_replica(environment) as another:
        image = await upload_image(one, caller=MAYA, title="Lake")
        async with pause_replay(primary_and_replica[1]), redis.from_url(environment["REDIS_URL"]) as valkey:
            await one.images.edit(MAYA, image.id, Edit(title="Dawn"))
            await valkey.flushdb()  # and with it the recorded position
            assert (await another.images.get(MAYA, image.id)).title == "Dawn"
    async with open_gallery(Settings.read({**environment, "REDIS_URL": "redis://127.0.0.1:1"})) as gallery:
        await wait_until_probed(gallery)
        assert gallery.database.replicas[0].usable
        assert not await answered_by_replica(gallery)


async def test_a_writer_without_valkey_waits_until_the_replica_has_the_change(
    environment, primary_and_replica, monkeypatch
):
    monkeypatch.setattr(replicas, "FEED_CATCH_UP_SECONDS", 60.0)
    async with application_with_replica(environment) as one, application_with_replica(environment) as another:
        image = await upload_image(one, caller=MAYA, title="Lake")
        one.valkey._unavailable_until = asyncio.get_running_loop().time() + 60  # only this process loses Valkey
        async with pause_replay(primary_and_replica[1]):
            editing = asyncio.create_task(one.images.edit(MAYA, image.id, Edit(title="Dawn")))
            assert not (await asyncio.wait({editing}, timeout=0.3))[0]
        await editing
        assert await answered_by_replica(another, image_subject(image.id))
        assert (await another.images.get(MAYA, image.id)).title == "Dawn"


async def test_a_lagging_replica_is_left_out_until_it_has_caught_up(environment, primary_and_replica):
    async with application_with_replica(environment, GALLERY_DATABASE__REPLICA_MAX_LAG="1") as gallery:
        async with pause_replay(primary_and_replica[1]):
            await upload_image(gallery, caller=MAYA)
            await wait_until_answered(gallery, by_replica=False)
            assert gallery.database.replicas[0].lag > 1
        await wait_until_answered(gallery, by_replica=True)


async def test_a_dead_replica_fails_no_read_and_is_used_again(environment, primary_and_replica):
    async with application_with_replica(environment) as gallery:
        image = await upload_image(gallery, caller=MAYA)
        await wait_until_answered(gallery, image_subject(image.id), by_replica=True)
        await primary_and_replica[1].kill()
        for _ in range(5):
            assert await gallery.images.get(MAYA, image.id)
        assert gallery.database.replicas[0].problem
        await primary_and_replica[1].start()
        await wait_until_answered(gallery, by_replica=True)


async def test_a_hanging_replica_costs_one_time_out(environment, primary_and_replica, monkeypatch):
    monkeypatch.setattr(replicas, "READ_TIMEOUT_SECONDS", 1.0)
    async with application_with_replica(environment) as gallery:
        image = await upload_image(gallery, caller=MAYA)
        await wait_until_answered(gallery, image_subject(image.id), by_replica=True)
        primary_and_replica[1].send_signal(signal.SIGSTOP)
        async with asyncio.timeout(8):
            assert all(await asyncio.gather(*(gallery.images.get(MAYA, image.id) for _ in range(30))))
        primary_and_replica[1].send_signal(signal.SIGCONT)
        await wait_until_answered(gallery, by_replica=True)


async def test_without_the_primary_replicas_answer_for_as_long_as_they_may_lag(environment, primary_and_replica):
    async with application_with_replica(environment, GALLERY_DATABASE__REPLICA_MAX_LAG="4") as gallery:
        image = await upload_image(gallery, caller=MAYA)
        await wait_until_answered(gallery, image_subject(image.id), by_replica=True)
        await primary_and_replica[0].kill()
        assert await gallery.images.get(MAYA, image.id)
        async with asyncio.timeout(20):
            while gallery.database.replicas[0].usable:
                await asyncio.sleep(0.05)
        with pytest.raises(DatabaseUnavailable):
            await gallery.images.get(MAYA, image.id)
        await primary_and_replica[0].start()
        await wait_until_answered(gallery, by_replica=True)


async def test_a_wrong_query_does_not_fail_the_replica(environment):
    async with application_with_replica(environment) as gallery:
        with pytest.raises(asyncpg.DataError):
            await gallery.database.read(lambda db: db.fetchval("SELECT $1::integer", "not a number"), "nothing")
        with pytest.raises(asyncpg.UndefinedTableError):  # raised by the primary
            await gallery.database.read(lambda db: db.fetchval("SELECT 1 FROM no_such_table"), "nothing")
        assert gallery.database.replicas[0].usable


async def test_a_server_that_is_not_a_replica_of_the_primary_is_not_read(environment, primary_and_replica, servers):
    """The primary itself, and a server of another installation."""
    wrong = f"{primary_and_replica[0].url},{servers.database.url}"  # the latter is not even a Gallery database
    async with open_gallery(Settings.read({**environment, "DATABASE_READ_REPLICA_URL": wrong})) as gallery:
        await wait_until_probed(gallery)
        assert [replica.usable for replica in gallery.database.replicas] == [False, False]
        assert gallery.database.replicas[0].problem == "it is not a replica"


async def test_the_doctor_names_the_replica_that_is_not_well(environment, primary_and_replica, servers, monkeypatch):
    primary, replica = primary_and_replica
    assert (await verdict(environment, "replicas"))[0] == "well"
    monkeypatch.setattr("gallery.doctor.replicas.TIMEOUT_SECONDS", 0.5)
    async with pause_replay(replica):
        await primary.fetch_value("SELECT pg_logical_emit_message(true, 'test', 'a commit')")
        state, text = await verdict(environment, "replicas")
        assert (state, "is behind" in text) == ("notice", True)
    for url, says in (
        (primary.url, "is not a replica"),
        ("postgresql://127.0.0.1:1/image_gallery", "correct DATABASE_READ_REPLICA_URL"),
    ):
        both = {**environment, "DATABASE_READ_REPLICA_URL": f"{replica.url},{url}"}
        state, text = await verdict(both, "replicas")
        assert (state, says in text, "it is not used" in text) == ("wrong", True, True), text
    alone = {**environment, "DATABASE_READ_REPLICA_URL": ""}
    assert (await verdict(alone, "replicas"))[0] == "skipped"
