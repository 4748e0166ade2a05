"""`Idempotency-Key`: an upload that is sent again is answered as it was the first time, and made once."""

import asyncio
import signal
from datetime import timedelta

import httpx
import pytest
import redis.asyncio as redis

import photos
from conftest import running_application
from factories import post
from faults.proxy import Proxy
from gallery.access.model import Owner
from gallery.errors import StillInFlight
from gallery.uploads.idempotency import Idempotency, IdempotencyKey, StoredResponse
from gallery_processes import api

PHOTO = photos.a_jpeg(480, 360, seed=11)
OTHER = photos.a_jpeg(480, 360, seed=12)
IDEMPOTENCY_HEADER = {"Idempotency-Key": "4f7c1e"}
LEASE = timedelta(seconds=30)
KEY = IdempotencyKey(Owner("everybody"), "POST /api/v1/images", "4f7c1e")


async def fetch(gallery, query, *arguments):
    async with gallery.database.writing() as db:
        return await db.fetchval(query, *arguments)


async def images(gallery):
    return await fetch(gallery, "SELECT count(*) FROM image")


async def test_the_same_request_again_is_answered_as_it_was(client, gallery):
    first = await post(client, PHOTO, headers=IDEMPOTENCY_HEADER, title="Lake", tags=["a", "b"])
    await client.patch(first.headers["location"], json={"title": "Other"})
    again = await post(client, PHOTO, headers=IDEMPOTENCY_HEADER, title="Lake", tags=["a", "b"])

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert (again.headers["location"], again.headers["etag"]) == (first.headers["location"], first.headers["etag"])
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert await images(gallery) == 1


@pytest.mark.parametrize("headers", [IDEMPOTENCY_HEADER, {}])
async def test_a_retry_enqueues_an_image_whose_job_was_never_added(client, gallery, headers):
    """The process that took it died before it rang; its client comes back to another one."""
    await post(client, PHOTO, headers=headers)
    async with redis.from_url(gallery.settings.redis.url) as valkey:
        await valkey.flushdb()
    assert (await gallery.queue.counts())["prioritized"] == 0
    for _ in range(3):
        await post(client, PHOTO, headers=headers)
    assert (await gallery.queue.counts())["prioritized"] == 1


async def test_a_duplicate_is_replayed_as_one(client):
    await post(client, PHOTO)
    first = await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)
    again = await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert again.json()["duplicate"] is True


async def test_a_request_is_identified_by_its_fields_and_its_file(client):
    def body(boundary: bytes, *parts: bytes) -> bytes:
        return b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts) + b"--%s--\r\n" % boundary

    title = b'Content-Disposition: form-data; name="title"\r\n\r\nLake'
    alt = b'Content-Disposition: form-data; name="alt"\r\n\r\nA lake'
    file = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PHOTO
    answers = [
        await client.post(
            "/api/v1/images",
            content=body(boundary, *parts),
            headers={**IDEMPOTENCY_HEADER, "Content-Type": f"multipart/form-data; boundary={boundary.decode()}"},
        )
        for boundary, parts in ((b"one", (title, alt, file)), (b"two", (file, alt, title)))
    ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("content", "words"),
    [(OTHER, {"title": "Lake"}), (PHOTO, {"title": "Sea"}), (PHOTO, {"title": "Lake", "alt": "x"})],
)
async def test_a_key_of_another_request_is_refused(client, gallery, content, words):
    first = await post(client, PHOTO, headers=IDEMPOTENCY_HEADER, title="Lake")
    answer = await post(client, content, headers=IDEMPOTENCY_HEADER, **words)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await images(gallery) == 1
    again = await post(client, PHOTO, headers=IDEMPOTENCY_HEADER, title="Lake")
    assert again.content == first.content, "and the first one is still answered"


async def test_a_refused_request_may_be_corrected(client):
    assert (await post(client, PHOTO, headers=IDEMPOTENCY_HEADER, title="x" * 121)).status_code == 422
    assert (await post(client, b"no picture", headers=IDEMPOTENCY_HEADER)).status_code == 415
    assert (await post(client, PHOTO, headers=IDEMPOTENCY_HEADER, title="Lake")).status_code == 201


async def test_a_request_that_failed_in_the_server_may_be_tried_again(client, tmp_path):
    objects = tmp_path / "data" / "objects"
    objects.rename(tmp_path / "data" / "elsewhere")
    objects.write_text("a file where the directory was")
    assert (await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)).status_code == 503
    objects.unlink()
    (tmp_path / "data" / "elsewhere").rename(objects)
    assert (await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)).status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "a" * 256, "schlüssel".encode("latin-1"), b"a\tb"])
async def test_an_invalid_key_is_refused(client, key):
    answer = await post(client, PHOTO, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")


@pytest.mark.parametrize("key", ["a", "a" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~"])
async def test_any_visible_text_is_a_key(client, key):
    assert (await post(client, PHOTO, headers={"Idempotency-Key": key})).status_code == 201


async def test_two_keys_are_refused(client):
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await client.post("/api/v1/images", files={"file": ("a.jpg", PHOTO)}, headers=headers)
    assert answer.status_code == 400


# --- in flight ------------------------------------------------------------------------------------------------------


async def test_a_second_request_is_refused_while_the_first_is_in_flight(client, gallery):
    url = httpx.URL(str(client.base_url))
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PHOTO + b"\r\n--x--\r\n"
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nIdempotency-Key: 4f7c1e\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" % len(body)
    )
    writer.write(body[:5000])
    await writer.drain()
    async with asyncio.timeout(5):
        while not await fetch(gallery, "SELECT count(*) FROM idempotency"):
            await asyncio.sleep(0.01)

    answer = await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)
    assert (answer.status_code, answer.json()["code"]) == (409, "still_in_flight")
    assert int(answer.headers["retry-after"]) >= 1

    writer.write(body[5000:])
    assert b" 201 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    replay = await client.post(
        "/api/v1/images",
        content=body,
        headers={**IDEMPOTENCY_HEADER, "Content-Type": "multipart/form-data; boundary=x"},
    )
    assert (replay.status_code, replay.headers["idempotency-replayed"]) == (201, "true")


async def test_a_client_that_disconnects_may_retry_at_once(client, gallery):
    url = httpx.URL(str(client.base_url))
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nIdempotency-Key: 4f7c1e\r\nContent-Length: 9999\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    await writer.drain()
    async with asyncio.timeout(5):
        while not await fetch(gallery, "SELECT count(*) FROM idempotency"):
            await asyncio.sleep(0.01)
        writer.close()
        while await fetch(gallery, "SELECT count(*) FROM idempotency"):
            await asyncio.sleep(0.01)
    assert (await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)).status_code == 201


async def test_twenty_retries_at_once_make_one_image(client, gallery):
    async def until_answered():
        async with asyncio.timeout(60):
            while (answer := await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)).status_code == 409:
                await asyncio.sleep(0.05)
        return answer

    answers = await asyncio.gather(*(until_answered() for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await images(gallery) == 1


async def test_twenty_keys_for_the_same_bytes_make_one_image(client, gallery):
    answers = await asyncio.gather(*(post(client, PHOTO, headers={"Idempotency-Key": f"k{n}"}) for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [201]
    assert await images(gallery) == 1


async def test_the_lease_of_a_killed_api_ends_soon(environment, tmp_path, gallery):
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + PHOTO + b"\r\n--x--\r\n"
    content_type = {"Content-Type": "multipart/form-data; boundary=x"}
    environment["GALLERY_UPLOAD__KEY_LEASE"] = "6"
    async with api(environment, tmp_path / "one") as first:
        url = httpx.URL(first.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nIdempotency-Key: 4f7c1e\r\nContent-Length: %d\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" % len(body)
        )
        writer.write(body[:5000])
        await writer.drain()
        async with asyncio.timeout(10):
            while not await fetch(gallery, "SELECT count(*) FROM idempotency"):
                await asyncio.sleep(0.01)
        await first.stop(signal.SIGKILL)
        writer.close()

    async with api(environment, tmp_path / "two") as second, httpx.AsyncClient(base_url=second.url) as client:

        async def retry():
            return await client.post("/api/v1/images", content=body, headers={**IDEMPOTENCY_HEADER, **content_type})

        assert (await retry()).status_code == 409, "the lease of the killed process still holds"
        left = await fetch(gallery, "SELECT extract(epoch FROM ends_at - now()) FROM idempotency")
        assert 0 < left <= 6
        async with asyncio.timeout(40):
            while (answer := await retry()).status_code == 409:
                await asyncio.sleep(0.5)
        assert (answer.status_code, "idempotency-replayed" in answer.headers) == (201, False)
        again = await retry()
        assert (again.content, again.headers["idempotency-replayed"]) == (answer.content, "true")
    assert await images(gallery) == 1


async def test_a_key_is_released_as_soon_as_the_database_is_available_again(environment, gallery):
    """Not only when its lease ends: the process that holds it lives."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    headers = {**IDEMPOTENCY_HEADER, "Content-Type": "multipart/form-data; boundary=x"}
    async with Proxy(environment["DATABASE_URL"]) as cable:

        async def body():
            yield head + PHOTO
            while not await fetch(gallery, "SELECT count(*) FROM idempotency"):
                await asyncio.sleep(0.01)
            cable.refusing = True
            cable.reset_connections()
            yield b"\r\n--x--\r\n"

        async with running_application(
            {**environment, "DATABASE_URL": cable.url, "GALLERY_DATABASE__TIMEOUT": "1"}
        ) as (_, client):
            assert (await client.post("/api/v1/images", content=body(), headers=headers)).status_code == 503
            cable.restore()
            async with asyncio.timeout(LEASE.total_seconds() / 2):
                while (answer := await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)).status_code in (409, 503):
                    await asyncio.sleep(0.1)
            assert answer.status_code == 201


async def test_an_api_that_was_killed_after_the_commit_has_stored_its_answer(client, gallery):
    """The answer is committed with the image: there is nothing between the two to be killed in."""
    key = IDEMPOTENCY_HEADER["Idempotency-Key"]
    await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)
    image = await fetch(gallery, "SELECT xmin::text FROM image")
    assert await fetch(gallery, "SELECT xmin::text FROM idempotency WHERE key = $1", key) == image


async def test_a_lease_is_renewed_while_the_request_is_answered(gallery):
    keys = Idempotency(gallery.database, timedelta(seconds=0.6))
    async with keys.lock(KEY):
        await asyncio.sleep(1.5)
        with pytest.raises(StillInFlight):
            async with keys.lock(KEY):
                pass


async def test_a_request_that_lost_its_lease_cannot_store_its_answer(gallery):
    keys = Idempotency(gallery.database, LEASE)
    answer = StoredResponse("f", 201, "01990000-0000-7000-8000-000000000000", b"{}")
    async with keys.lock(KEY) as late:
        await fetch(gallery, "UPDATE idempotency SET ends_at = now() RETURNING true")
        async with keys.lock(KEY) as next_one:
            with pytest.raises(StillInFlight):
                async with gallery.database.writing() as db:
                    await late.store_response(db, answer)
            async with gallery.database.writing() as db:
                await next_one.store_response(db, answer)
    async with keys.lock(KEY) as third:
        assert third.find_response("f") == answer


# --- how long -------------------------------------------------------------------------------------------------------


async def test_an_answer_is_kept_for_a_day(client, gallery):
    await post(client, PHOTO, headers=IDEMPOTENCY_HEADER)
    hours = await fetch(gallery, "SELECT extract(epoch FROM ends_at - now()) / 3600 FROM idempotency")
    assert 23.9 < hours <= 24
    await gallery.sweep.run()
    assert await fetch(gallery, "SELECT count(*) FROM idempotency") == 1
    await fetch(gallery, "UPDATE idempotency SET ends_at = now() RETURNING true")
    answer = await post(client, OTHER, headers=IDEMPOTENCY_HEADER)
    assert answer.status_code == 201, "after that the key is like new"
    await fetch(gallery, "UPDATE idempotency SET ends_at = now() RETURNING true")
    await gallery.sweep.run()
    assert await fetch(gallery, "SELECT count(*) FROM idempotency") == 0


async def test_another_owners_key_is_another_key(gallery):
    keys = Idempotency(gallery.database, LEASE)
    async with keys.lock(KEY), keys.lock(IdempotencyKey(Owner("somebody else"), KEY.route, KEY.value)):
        pass
