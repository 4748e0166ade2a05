"""Uploads in several requests when two clients, two processes or a lost server meet at one moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

import photos
import tus_requests as tus
from conftest import running_application
from credentials import bearer_headers, closed_application, create_upload_ticket, make_token, upload_headers
from factories import expire_pending_puts, post, stored_keys
from gallery.errors import DatabaseUnavailable
from gallery.settings import Settings
from gallery.uploads import direct, upload_rows
from gallery.uploads.add import NewImages
from gallery.uploads.idempotency import Idempotency
from gallery.uploads.model import Upload
from gallery.wiring import Gallery
from s3 import create_bucket

MIB = 1024 * 1024
LARGE = {"GALLERY_UPLOAD__MAX_BYTES": str(64 * MIB)}


@pytest.fixture(params=["files", "s3"])
async def store(request, environment, s3) -> dict[str, str]:
    if request.param == "files":
        return environment | LARGE
    bucket = f"races-{uuid4().hex[:12]}"
    create_bucket(s3, bucket)
    return environment | LARGE | s3 | {"S3_BUCKET": bucket}


@pytest.fixture
async def running(store) -> AsyncIterator[tuple[Gallery, httpx.AsyncClient]]:
    async with running_application(store) as found:
        yield found


def large_photo(size: int) -> bytes:
    """A JPEG with bytes after its end, which decoders ignore."""
    content = photos.a_jpeg()
    return content + bytes(size - len(content))


async def swept_keys(gallery: Gallery) -> set[str]:
    """The keys in the store after a sweep, and a second one, since a key that is released young is removed twice."""
    await gallery.sweep.run()
    await expire_pending_puts(gallery)
    await gallery.sweep.run()
    return await stored_keys(gallery)


async def begin_direct(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    answer = await client.post(f"{tus.BASE}/direct", json={"size": len(content)}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def put_part(
    client: httpx.AsyncClient, part: dict[str, Any], content: bytes, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Without a credential, wherever the URL leads."""
    body = content[part["from"] : part["to"]]
    async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as anonymous:
        return await anonymous.put(part["url"], content=body, headers=part["headers"] | (headers or {}))


async def put_parts(client: httpx.AsyncClient, upload: dict[str, Any], content: bytes) -> None:
    for part in upload["parts"]:
        answer = await put_part(client, part, content)
        assert answer.status_code == 200, answer.text


def fail_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The database is lost at the next call of a function of `upload_rows`."""

    async def lost(*_: object) -> None:
        monkeypatch.undo()
        raise DatabaseUnavailable

    monkeypatch.setattr(upload_rows, name, lost)


def hold_in_turn(monkeypatch: pytest.MonkeyPatch, gallery: Gallery) -> None:
    """Two requests have both read an upload before the first of them holds it; the second one holds it after that."""
    hold, turn, both, requests = gallery.resumable_uploads.hold, asyncio.Lock(), asyncio.Event(), []

    @asynccontextmanager
    async def in_turn(upload: Upload) -> AsyncIterator[Any]:
        requests.append(upload)
        if len(requests) == 2:
            both.set()
        await both.wait()
        async with turn, hold(upload) as held:
            yield held

    monkeypatch.setattr(gallery.resumable_uploads, "hold", in_turn)


async def test_two_creations_with_one_key_begin_one_object(running, monkeypatch):
    """All URLs that were given out lead to the object that is completed."""
    gallery, client = running
    hold_in_turn(monkeypatch, gallery)
    content, key = large_photo(9 * MIB), {"Idempotency-Key": "k1"}
    first, second = await asyncio.gather(*(begin_direct(client, content, key) for _ in range(2)))
    assert first["id"] == second["id"]
    await put_parts(client, {"parts": [first["parts"][0], second["parts"][1]]}, content)
    answer = await client.post(first["complete"])
    assert answer.status_code == 201, answer.text


async def test_two_requests_complete_one_upload(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    upload = await begin_direct(client, content)
    await put_parts(client, upload, content)
    hold_in_turn(monkeypatch, gallery)
    answers = await asyncio.gather(*(client.post(upload["complete"]) for _ in range(2)))
    assert [answer.status_code for answer in answers] == [201, 201], [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_part_of_an_upload_that_is_being_completed(running, monkeypatch):
    """It comes too late, whether the upload has ended or not."""
    _, client = running
    content = large_photo(9 * MIB)
    upload = await begin_direct(client, content)
    await put_parts(client, upload, content)
    fail_once(monkeypatch, "set_stored")
    assert (await client.post(upload["complete"])).status_code == 503
    for _ in range(2):
        late = await put_part(client, upload["parts"][1], content)
        assert late.status_code == 404
        assert "upload_not_found" in late.text or "NoSuchUpload" in late.text, late.text
        assert (await client.post(upload["complete"])).status_code == 201


async def test_part_urls_expire_by_the_servers_clock(running, monkeypatch):
    """A client whose URLs have expired asks for new ones with its key, and sends only the parts that are missing."""
    _, client = running
    content, key = large_photo(9 * MIB), {"Idempotency-Key": "k1"}
    monkeypatch.setattr(direct, "URL_LIFETIME", timedelta(seconds=2))
    upload = await begin_direct(client, content, key)
    wrong_clock = {"Date": "Thu, 01 Jan 1970 00:00:00 GMT"}
    assert (await put_part(client, upload["parts"][0], content, wrong_clock)).status_code == 200
    await asyncio.sleep(3)
    assert (await put_part(client, upload["parts"][1], content)).status_code == 403
    monkeypatch.undo()
    again = await begin_direct(client, content, key)
    assert again["id"] == upload["id"]
    assert (await put_part(client, again["parts"][1], content)).status_code == 200
    assert (await client.post(again["complete"])).status_code == 201


async def test_a_whole_file_whose_row_was_lost_may_be_sent_again_in_chunks(running, monkeypatch):
    gallery, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    fail_once(monkeypatch, "set_stored")
    assert (await tus.patch(client, url, 0, content)).status_code == 503
    assert (await tus.head(client, url)).headers["Upload-Offset"] == "0"
    for offset in range(0, len(content), 50_000):
        answer = await tus.patch(client, url, offset, content[offset : offset + 50_000])
        assert answer.status_code == 204, answer.text
    assert await swept_keys(gallery) == {f"original/{answer.headers['Gallery-Image']}"}


async def test_an_end_does_not_wait_for_the_idempotency_key_of_a_killed_process(running, monkeypatch):
    """The request that holds the upload has its key, too, also after a process that died while it ended the upload."""
    gallery, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content), idempotencyKey="k1")

    async def never_released(*_: object) -> bool:
        return True

    async def killed(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(Idempotency, "_try_release", never_released)
    monkeypatch.setattr(NewImages, "add", killed)
    assert (await tus.patch(client, url, 0, content)).status_code == 503
    monkeypatch.undo()
    form = await post(client, content, headers={"Idempotency-Key": "k1"}, name="")
    assert (form.status_code, form.json()["code"]) == (409, "still_in_flight"), "others wait for the key"
    answer = await tus.head(client, url)
    assert answer.status_code == 200
    assert await swept_keys(gallery) == {f"original/{answer.headers['Gallery-Image']}"}


async def test_a_tail_whose_row_was_lost_is_removed(running, monkeypatch):
    gallery, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    fail_once(monkeypatch, "set_tails")
    assert (await tus.patch(client, url, 0, content[:1000])).status_code == 503
    answer = await tus.patch(client, url, 0, content)
    assert answer.status_code == 204, answer.text
    assert await swept_keys(gallery) == {f"original/{answer.headers['Gallery-Image']}"}


async def test_an_upload_that_moves_does_not_expire(running):
    """A request that began in time is taken to its end, however long it lasts."""
    gallery, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))

    async def slow() -> AsyncIterator[bytes]:
        yield content[:1000]
        await asyncio.sleep(0.2)
        async with gallery.database.primary() as db:
            await db.execute("UPDATE upload SET expires_at = now()")
        await gallery.sweep.run()
        yield content[1000:]

    answer = await tus.patch(client, url, 0, slow(), {"Content-Length": str(len(content))})
    assert answer.status_code == 204, answer.text
    assert (await tus.head(client, url)).headers["Gallery-Image"] == answer.headers["Gallery-Image"]
    assert await swept_keys(gallery) == {f"original/{answer.headers['Gallery-Image']}"}


async def test_the_last_use_of_a_ticket_begins_one_upload(store):
    owner = bearer_headers(make_token("maya"))
    content = photos.a_jpeg()
    async with closed_application(Settings.read(store)) as (gallery, client):
        ticket = upload_headers((await create_upload_ticket(client, owner, uses=1))["ticket"])
        answers = await asyncio.gather(*(tus.create(client, len(content), ticket) for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403]
        [url] = [answer.headers["Location"] for answer in answers if answer.status_code == 201]
        answer = await tus.patch(client, url, 0, content, ticket)
        assert answer.status_code == 204, answer.text
        assert await swept_keys(gallery) == {f"original/{answer.headers['Gallery-Image']}"}
