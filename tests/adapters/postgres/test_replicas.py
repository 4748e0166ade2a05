"""Read replicas: used where they may be, and nobody who was told of a change is answered from before it.

The houses are API processes of one installation, with a real primary and its real streaming replica, which can be made
to lag by the word.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
import redis.asyncio as redis

from cast import listening, uploaded
from conftest import served
from doctor.looking import verdict
from gallery.access.model import Caller, Owner, Scope
from gallery.adapters.postgres import replicas
from gallery.adapters.postgres.replicas import NOT_YET
from gallery.errors import DatabaseAway, ImageNotFound
from gallery.images.list_query import Question
from gallery.images.model import Edit
from gallery.images.outbox import of_image, of_owner
from gallery.settings import Settings
from gallery.wiring import open_gallery, open_processing
from replication import Server, twins

MAYA, BEN = (Caller(owner=Owner(name), scopes=frozenset(Scope)) for name in ("maya", "ben"))
LISTED = Question(words=["lake"])  # searches are a replica's work, cache or not
AT_A_REPLICA = "SELECT pg_is_in_recovery()"


@pytest.fixture(scope="module")
async def pair(tmp_path_factory) -> AsyncIterator[tuple[Server, Server]]:
    async with twins(tmp_path_factory.mktemp("twins")) as servers:
        yield servers


@pytest.fixture
async def environment(environment, pair) -> dict[str, str]:
    """With a Valkey that has been there for a while, so that no note can be missing."""
    primary, replica = pair
    async with redis.from_url(environment["REDIS_URL"]) as valkey:
        await valkey.set(f"{{{environment['GALLERY_REDIS__PREFIX']}:replicas}}:born", 1)
    own = {"DATABASE_URL": primary.url, "DATABASE_READ_REPLICA_URL": replica.url}
    return {**environment, **own, "GALLERY_DATABASE__REPLICA_MAX_LAG": "60", "GALLERY_REDIS__TIMEOUT": "10"}


@asynccontextmanager
async def an_api(environment: dict[str, str], **more: str):
    """A house whose replica is in use."""
    async with open_gallery(Settings.read({**environment, **more})) as house:
        await until(house, by_a_replica=True)
        yield house


@asynccontextmanager
async def lagging(replica: Server):
    await replica.ask("SELECT pg_wal_replay_pause()")
    try:
        yield
    finally:
        await replica.ask("SELECT pg_wal_replay_resume()")


async def answered_by_one(house, subject: str = "nothing") -> bool:
    return bool(await house.database.read(lambda db: db.fetchval(AT_A_REPLICA), subject))


async def until(house, subject: str = "nothing", *, by_a_replica: bool, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while await answered_by_one(house, subject) is not by_a_replica:
            await asyncio.sleep(0.02)


async def looked_at(house) -> None:
    """A first read has been, and each replica has been looked at since."""
    assert not await answered_by_one(house)
    async with asyncio.timeout(20):
        while any(replica.trouble == NOT_YET for replica in house.database.replicas):
            await asyncio.sleep(0.02)


async def test_who_has_written_reads_what_they_wrote_through_any_process(environment, pair):
    async with an_api(environment) as one, an_api(environment) as another:
        image = await uploaded(one, caller=MAYA, title="Lake")
        await until(another, of_image(image.id), by_a_replica=True)
        async with lagging(pair[1]):
            await one.images.edit(MAYA, image.id, Edit(title="Lake at dawn"))
            new = await uploaded(one, caller=MAYA, title="Another lake")
            for house in (one, another):
                assert (await house.images.get(MAYA, image.id)).title == "Lake at dawn"
                assert (await house.images.get(MAYA, new.id)).title == "Another lake"
                assert [i.id for i in (await house.images.page(MAYA, LISTED)).items] == [new.id, image.id]
                assert len(await house.images.timeline(MAYA, new.id)) == 1
                assert await answered_by_one(house, of_owner(BEN.owner))  # nobody else pays for it
            await one.images.delete(MAYA, image.id)
            with pytest.raises(ImageNotFound):
                await another.images.get(MAYA, image.id)
        await until(another, of_owner(MAYA.owner), by_a_replica=True)
        assert [i.id for i in (await another.images.page(MAYA, LISTED)).items] == [new.id]


async def test_who_has_heard_of_an_event_reads_nothing_older(environment, pair):
    """The worker writes, one process tells, another is asked."""
    async with (
        an_api(environment) as one,
        an_api(environment) as another,
        an_api(environment) as worker,
        served(one) as url,
        open_processing(worker) as processing,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
        listening(client) as listener,
    ):
        image = await uploaded(worker)
        await until(another, of_image(image.id), by_a_replica=True)
        async with lagging(pair[1]):
            await processing.process(image.id)
            await listener.next("image.ready")
            assert (await another.images.get(MAYA, image.id)).rendition("960", "webp")
            assert (await another.answers.image(MAYA, image.id)).version > image.version


async def test_without_valkey_the_primary_is_asked(environment, pair):
    """Nobody can know then what a replica needs."""
    async with an_api(environment) as one, an_api(environment) as another:
        image = await uploaded(one, caller=MAYA, title="Lake")
        async with lagging(pair[1]), redis.from_url(environment["REDIS_URL"]) as valkey:
            await one.images.edit(MAYA, image.id, Edit(title="Dawn"))
            await valkey.flushdb()  # and with it the note
            assert (await another.images.get(MAYA, image.id)).title == "Dawn"
    async with open_gallery(Settings.read({**environment, "REDIS_URL": "redis://127.0.0.1:1"})) as deaf:
        await looked_at(deaf)
        assert deaf.database.replicas[0].used
        assert not await answered_by_one(deaf)


async def test_who_cannot_leave_word_waits_until_the_replica_has_it(environment, pair, monkeypatch):
    monkeypatch.setattr(replicas, "FEEDS_HAVE_SEEN", 60.0)
    async with an_api(environment) as one, an_api(environment) as another:
        image = await uploaded(one, caller=MAYA, title="Lake")
        one.valkey._away_until = asyncio.get_running_loop().time() + 60  # its cable is cut, the other's is not
        async with lagging(pair[1]):
            editing = asyncio.create_task(one.images.edit(MAYA, image.id, Edit(title="Dawn")))
            assert not (await asyncio.wait({editing}, timeout=0.3))[0]
        await editing
        assert await answered_by_one(another, of_image(image.id))
        assert (await another.images.get(MAYA, image.id)).title == "Dawn"


async def test_one_that_lags_too_long_is_left_out_and_comes_back(environment, pair):
    async with an_api(environment, GALLERY_DATABASE__REPLICA_MAX_LAG="1") as house:
        async with lagging(pair[1]):
            await uploaded(house, caller=MAYA)
            await until(house, by_a_replica=False)
            assert house.database.replicas[0].lag > 1
        await until(house, by_a_replica=True)


async def test_one_that_dies_costs_no_answer_and_comes_back(environment, pair):
    async with an_api(environment) as house:
        image = await uploaded(house, caller=MAYA)
        await until(house, of_image(image.id), by_a_replica=True)
        await pair[1].kill()
        for _ in range(5):
            assert await house.images.get(MAYA, image.id)
        assert house.database.replicas[0].trouble
        await pair[1].start()
        await until(house, by_a_replica=True)


async def test_one_that_hangs_costs_one_wait(environment, pair, monkeypatch):
    monkeypatch.setattr(replicas, "PATIENCE", 1.0)
    async with an_api(environment) as house:
        image = await uploaded(house, caller=MAYA)
        await until(house, of_image(image.id), by_a_replica=True)
        pair[1].send(signal.SIGSTOP)
        async with asyncio.timeout(8):
            assert all(await asyncio.gather(*(house.images.get(MAYA, image.id) for _ in range(30))))
        pair[1].send(signal.SIGCONT)
        await until(house, by_a_replica=True)


async def test_without_the_primary_replicas_answer_for_as_long_as_they_may_lag(environment, pair):
    async with an_api(environment, GALLERY_DATABASE__REPLICA_MAX_LAG="4") as house:
        image = await uploaded(house, caller=MAYA)
        await until(house, of_image(image.id), by_a_replica=True)
        await pair[0].kill()
        assert await house.images.get(MAYA, image.id)
        async with asyncio.timeout(20):
            while house.database.replicas[0].used:
                await asyncio.sleep(0.05)
        with pytest.raises(DatabaseAway):
            await house.images.get(MAYA, image.id)
        await pair[0].start()
        await until(house, by_a_replica=True)


async def test_what_is_wrong_with_a_question_is_no_fault_of_a_replica(environment):
    async with an_api(environment) as house:
        with pytest.raises(asyncpg.DataError):
            await house.database.read(lambda db: db.fetchval("SELECT $1::integer", "not a number"), "nothing")
        with pytest.raises(asyncpg.UndefinedTableError):  # the primary's word
            await house.database.read(lambda db: db.fetchval("SELECT 1 FROM no_such_table"), "nothing")
        assert house.database.replicas[0].used


async def test_what_is_no_replica_of_ours_is_not_read(environment, pair, servers):
    """The primary itself, and the replica of somebody else."""
    wrong = f"{pair[0].url},{servers.database.url}"  # the latter is not even a Gallery's
    async with open_gallery(Settings.read({**environment, "DATABASE_READ_REPLICA_URL": wrong})) as house:
        await looked_at(house)
        assert [replica.used for replica in house.database.replicas] == [False, False]
        assert house.database.replicas[0].trouble == "it is no replica"


async def test_the_doctor_says_which_is_not_well(environment, pair, servers, monkeypatch):
    primary, replica = pair
    assert (await verdict(environment, "replicas"))[0] == "well"
    monkeypatch.setattr("gallery.doctor.replicas.PATIENCE", 0.5)
    async with lagging(replica):
        await primary.ask("SELECT pg_logical_emit_message(true, 'test', 'a commit')")
        state, text = await verdict(environment, "replicas")
        assert (state, "is behind" in text) == ("notice", True)
    for url, says in (
        (primary.url, "is a primary of its own"),
        ("postgresql://127.0.0.1:1/image_gallery", "mend DATABASE_READ_REPLICA_URL"),
    ):
        both = {**environment, "DATABASE_READ_REPLICA_URL": f"{replica.url},{url}"}
        state, text = await verdict(both, "replicas")
        assert (state, says in text, "left out" in text) == ("wrong", True, True), text
    alone = {**environment, "DATABASE_READ_REPLICA_URL": ""}
    assert (await verdict(alone, "replicas"))[0] == "skipped"
