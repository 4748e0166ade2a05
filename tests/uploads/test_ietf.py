"""Uploads by the IETF's protocol through breaks, dead connections and lost answers; the draft's rules are beside it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

import ietf_requests as ietf
import photos
from conftest import running_application
from credentials import bearer_headers, create_upload_ticket, make_token, upload_headers
from factories import stored_keys
from gallery.errors import DatabaseUnavailable
from gallery.uploads import upload_rows
from http_sockets import connect
from resumed import MIB, Running, count, execute, large_photo, sweep, unfinished

PHOTO = photos.a_jpeg()


@pytest.fixture
async def running(large_files) -> AsyncIterator[Running]:
    async with running_application(large_files, **ietf.ON) as (gallery, client):
        client.headers.update(bearer_headers(make_token("maya")))
        yield gallery, client


async def offset_of(client: httpx.AsyncClient, url: str) -> int:
    return int((await client.head(url)).headers["Upload-Offset"])


async def check(client: httpx.AsyncClient, answer: httpx.Response, content: bytes) -> None:
    assert answer.status_code == 201, answer.text
    assert (answer.headers["Upload-Complete"], answer.json()["status"]) == ("?1", "PENDING")
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
    original = f"/api/v1/images/{answer.headers['Gallery-Image']}/original"
    assert (await client.get(original)).content == content


async def test_urlsession_goes_on_after_a_break(running):
    """It sends the whole file with `Upload-Complete: ?1`, and after the 104 knows where to go on."""
    _, client = running
    content = large_photo(20 * MIB)
    async with connect(client.base_url) as (reader, writer):
        writer.write(head_of(client, len(content), "Upload-Draft-Interop-Version: 8") + content[: 9 * MIB])
        interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        await writer.drain()
        url = headers_of(interim)["location"]
        async with asyncio.timeout(10):
            while await received(running) < 8 * MIB:
                await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        while await held(running):
            await asyncio.sleep(0.05)
    offset = await offset_of(client, url)
    assert 8 * MIB <= offset <= 9 * MIB
    await check(client, await ietf.append(client, url, offset, content[offset:], last=True), content)


@pytest.mark.parametrize("length", [None, 20 * MIB])
async def test_a_series_of_requests(running, length):
    _, client = running
    content = large_photo(20 * MIB)
    url = await ietf.created(client, length)
    for offset in range(0, len(content), 3 * MIB):
        answer = await ietf.append(client, url, offset, content[offset : offset + 3 * MIB])
        assert (answer.status_code, answer.headers["Upload-Complete"]) == (204, "?0")
    assert (await client.head(url)).headers["Upload-Complete"] == "?0"  # all bytes are there, and yet it may go on
    await check(client, await ietf.append(client, url, len(content), b"", last=True), content)
    assert (await client.head(url)).headers["Upload-Complete"] == "?1"


async def test_a_body_of_unknown_length(running):
    _, client = running
    content = large_photo(9 * MIB)

    async def chunks() -> AsyncIterator[bytes]:
        for offset in range(0, len(content), 1_000_000):
            yield content[offset : offset + 1_000_000]

    await check(client, await ietf.send(client, chunks()), content)


async def test_an_end_that_the_database_has_not_recorded_is_repeated(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await ietf.created(client)
    await ietf.append(client, url, 0, content)

    async def lost(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(upload_rows, "set_size", lost)
    assert (await ietf.append(client, url, len(content), b"", last=True)).status_code == 503
    monkeypatch.undo()
    assert (await client.head(url)).headers["Upload-Complete"] == "?0"
    await check(client, await ietf.append(client, url, len(content), b"", last=True), content)
    assert await count(gallery, "image") == 1


async def test_an_end_that_its_process_has_not_reached_is_reached_by_head(running, monkeypatch):
    gallery, client = running
    url = await ietf.created(client)

    async def killed(*_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(gallery.ietf_uploads._finishing, "finish", killed)
    assert (await ietf.append(client, url, 0, PHOTO, last=True)).status_code == 503
    monkeypatch.undo()
    answer = await client.head(url)
    assert answer.headers["Upload-Complete"] == "?1"
    assert (await client.get(answer.headers["Content-Location"])).json()["sha256"] == hashlib.sha256(PHOTO).hexdigest()


@pytest.mark.parametrize("asks", [True, False])
async def test_the_next_request_takes_over_from_a_dead_connection(running, asks):
    """What `HEAD` says is what the next request may rely on (8 of the draft)."""
    _, client = running
    content = large_photo(20 * MIB)
    url = await ietf.created(client, len(content))
    path = httpx.URL(url).path
    async with connect(client.base_url) as (reader, writer):
        writer.write(
            f"PATCH {path} HTTP/1.1\r\nHost: {httpx.URL(url).netloc.decode()}\r\n"
            f"Authorization: {client.headers['Authorization']}\r\nContent-Type: application/partial-upload\r\n"
            f"Upload-Offset: 0\r\nUpload-Complete: ?1\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content[: 9 * MIB]
        )
        await writer.drain()
        async with asyncio.timeout(10):
            while await received(running) < 8 * MIB:
                await asyncio.sleep(0.05)
        offset = 8 * MIB
        if asks:
            async with asyncio.timeout(5):
                offset = await offset_of(client, url)
            assert not await held(running)
        answer = await ietf.append(client, url, offset, content[offset : 12 * MIB])
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(12 * MIB))
        writer.write(content[9 * MIB :])  # the dead connection was alive: it changes nothing
        assert b" 423 " in await asyncio.wait_for(reader.readline(), 10)
    assert await offset_of(client, url) == 12 * MIB
    await check(client, await ietf.append(client, url, 12 * MIB, content[12 * MIB :], last=True), content)


async def test_a_repeated_creation_with_the_same_key_is_one_image(running):
    """A client without a 104 sends the file again from its beginning; what is left of the first try goes."""
    gallery, client = running
    key = {"Idempotency-Key": "k1"}
    url = (await ietf.create(client, len(PHOTO), key)).headers["Location"]
    await ietf.append(client, url, 0, b"something else")
    first = await ietf.send(client, PHOTO, key)
    await check(client, first, PHOTO)
    again = await ietf.send(client, PHOTO, key)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert again.json()["id"] == first.json()["id"]
    assert await count(gallery, "upload") == 1
    await sweep(gallery)
    assert await stored_keys(gallery) == {f"original/{first.json()['id']}"}


async def test_a_cancelled_upload_and_an_expired_one_leave_nothing(running):
    gallery, client = running
    content = large_photo(10 * MIB)
    cancelled, expired = await ietf.created(client), await ietf.created(client)
    for url in (cancelled, expired):
        assert (await ietf.append(client, url, 0, content)).status_code == 204
    assert (await client.delete(cancelled)).status_code == 204
    assert (await client.head(cancelled)).status_code == 404
    await execute(gallery, "UPDATE upload SET expires_at = now()")
    await sweep(gallery)
    assert (await stored_keys(gallery), await unfinished(gallery)) == (set(), [])


async def test_a_page_with_a_ticket(running):
    _, client = running
    ticket = upload_headers((await create_upload_ticket(client, maxBytes=2 * len(PHOTO)))["ticket"])
    url = await ietf.created(client, headers=ticket)
    answer = await client.head(url, headers=ticket)
    assert answer.headers["Upload-Limit"].startswith(f"max-size={2 * len(PHOTO)}, max-age=")
    refused = await ietf.append(client, url, 0, PHOTO + bytes(2 * len(PHOTO)), ticket)
    assert (refused.status_code, refused.headers["Upload-Limit"]) == (413, f"max-size={2 * len(PHOTO)}")
    assert "maxBytes of the upload ticket" in refused.json()["detail"]
    await check(client, await ietf.append(client, url, 0, PHOTO, ticket, last=True), PHOTO)


async def test_a_file_that_turns_out_too_large_leaves_nothing_at_the_store(running):
    """Without a `Content-Length`: its parts were begun by the request that is refused."""
    gallery, client = running
    ticket = upload_headers((await create_upload_ticket(client, maxBytes=10 * MIB))["ticket"])
    content = large_photo(20 * MIB)

    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), MIB):
            yield content[start : start + MIB]

    url = await ietf.created(client, headers=ticket)
    assert (await ietf.append(client, url, 0, blocks(), ticket)).status_code == 413
    assert await unfinished(gallery) == []


# --- steps ------------------------------------------------------------------------------------------------------------


def head_of(client: httpx.AsyncClient, length: int, *headers: str) -> bytes:
    lines = [
        f"POST {ietf.BASE}?title=Lake HTTP/1.1",
        f"Host: {client.base_url.netloc.decode()}",
        f"Authorization: {client.headers['Authorization']}",
        "Content-Type: image/jpeg",
        "Upload-Complete: ?1",
        f"Content-Length: {length}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def headers_of(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 104 Upload Resumption Supported"
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}


async def received(running: Running) -> int:
    async with running[0].database.primary() as db:
        return await db.fetchval("SELECT received FROM upload")


async def held(running: Running) -> bool:
    async with running[0].database.primary() as db:
        return await db.fetchval("SELECT holder IS NOT NULL FROM upload")
