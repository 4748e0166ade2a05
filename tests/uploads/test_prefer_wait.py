"""`Prefer: wait`: one answer when the image is done, for clients without events."""

import asyncio
import time

import httpx
import pytest

import photos
from conftest import serve_api
from factories import CALLER, post
from gallery.uploads.service import preferred_wait_seconds

WAIT = {"Prefer": "wait=20"}


async def waiting(gallery, number=1):
    """Until so many uploaders wait."""
    async with asyncio.timeout(10):
        while sum(len(e) for e in gallery.feed._waiters.values()) < number:
            await asyncio.sleep(0.01)


async def only_image(gallery):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT id FROM image")


async def test_the_answer_comes_when_the_image_is_ready(client, gallery, processing):
    answering = asyncio.create_task(post(client, headers=WAIT))
    await waiting(gallery)
    await processing.process(await only_image(gallery))
    answer = await answering

    assert (answer.status_code, answer.json()["status"]) == (201, "READY")
    assert answer.json()["renditions"]
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.headers["etag"].strip('"').split("-")[0] == str(answer.json()["version"])


async def test_the_answer_comes_when_the_image_has_failed(client, gallery, processing):
    answering = asyncio.create_task(post(client, photos.a_jpeg(480, 360, seed=6)[:9000], headers=WAIT))
    await waiting(gallery)
    await processing.process(await only_image(gallery))
    answer = await answering
    assert (answer.status_code, answer.json()["status"]) == (201, "FAILED")


async def test_the_answer_comes_when_the_time_is_over(client):
    began = time.monotonic()
    answer = await post(client, headers={"Prefer": "respond-async, wait=1"})
    assert 1 <= time.monotonic() - began < 5
    assert (answer.status_code, answer.json()["status"]) == (201, "PENDING")
    assert answer.headers["preference-applied"] == "wait=1"


async def test_a_request_without_the_preference_does_not_wait(client):
    began = time.monotonic()
    answer = await post(client)
    assert time.monotonic() - began < 5
    assert "preference-applied" not in answer.headers


async def test_an_image_that_was_deleted_meanwhile_is_answered_as_it_was(client, gallery):
    answering = asyncio.create_task(post(client, headers=WAIT))
    await waiting(gallery)
    await gallery.images.delete(CALLER, await only_image(gallery))
    answer = await answering
    assert (answer.status_code, answer.json()["status"]) == (201, "PENDING")


async def test_many_wait_without_a_connection_of_the_database(client, gallery, processing):
    """Far more uploaders wait than there are connections, and others are served meanwhile."""
    many = gallery.settings.database.pool_size * 2
    content = photos.a_jpeg(480, 360, seed=7)
    answering = [asyncio.create_task(post(client, content, headers=WAIT)) for _ in range(many)]
    await waiting(gallery, many)
    pool = gallery.database._pool
    async with asyncio.timeout(10):  # each has looked once, and then lets go
        while pool.get_idle_size() < pool.get_size() - 2:
            await asyncio.sleep(0.01)
    assert (await client.get("/api/v1/images")).status_code == 200
    await processing.process(await only_image(gallery))
    answers = await asyncio.gather(*answering)
    assert {answer.json()["status"] for answer in answers} == {"READY"}
    assert sorted(answer.status_code for answer in answers) == [200] * (many - 1) + [201]
    assert gallery.feed._waiters == {}


async def test_a_stop_answers_waiting_requests(gallery):
    async with httpx.AsyncClient(timeout=20) as client:
        async with serve_api(gallery) as url:
            client.base_url = url
            answering = asyncio.create_task(post(client, headers={"Prefer": "wait=60"}))
            await waiting(gallery)
            await asyncio.sleep(0.5)  # it has looked, and found nothing yet
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert (await answering).json()["status"] == "PENDING"


async def test_an_image_that_is_done_already_is_not_waited_for(client, gallery, processing):
    content = photos.a_jpeg(480, 360, seed=8)
    await processing.process((await post(client, content)).json()["id"])
    began = time.monotonic()
    answer = await post(client, content, headers=WAIT)
    assert (answer.status_code, answer.json()["status"], answer.json()["duplicate"]) == (200, "READY", True)
    assert time.monotonic() - began < 5


async def test_a_replay_waits_too(client, gallery, processing):
    content = photos.a_jpeg(480, 360, seed=9)
    await post(client, content, headers={"Idempotency-Key": "a"})
    answering = asyncio.create_task(post(client, content, headers={"Idempotency-Key": "a", **WAIT}))
    await waiting(gallery)
    await processing.process(await only_image(gallery))
    answer = await answering
    assert (answer.status_code, answer.json()["status"], answer.json()["duplicate"]) == (201, "READY", False)
    assert answer.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["wait=10"], 10),
        (["WAIT = 10"], 10),
        (['wait="10"'], 10),
        (["wait=0"], 0),
        (["wait=3600"], 60),
        (["respond-async", "wait=5"], 5),
        (["handling=lenient; wait=7, wait=5"], 5),
        (["wait=5; foo, wait=7"], 5),
        (["wait=5, wait=7"], 5),
        (["wait"], None),
        (["wait=soon"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["await=5"], None),
    ],
)
def test_invalid_preferences_are_ignored(headers, seconds):
    assert preferred_wait_seconds(headers) == seconds
