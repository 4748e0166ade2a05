"""Uploads in several requests: writers that meet, and what keys, tickets and protocols belong to."""

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

import photos
import tus_requests as tus
from credentials import bearer_headers, create_upload_ticket, make_token, upload_headers
from gallery.uploads import resumable
from http_sockets import connect, read_response
from resumed import MIB, count, large_photo, sweep, unfinished

MAYA = bearer_headers(make_token("maya"))


# --- two writers ------------------------------------------------------------------------------------------------------


async def begin_patch(client: httpx.AsyncClient, writer: asyncio.StreamWriter, url: str, size: int) -> None:
    head = [
        f"PATCH {httpx.URL(url).path} HTTP/1.1",
        f"Host: {client.base_url.host}:{client.base_url.port}",
        f"Authorization: {MAYA['Authorization']}",
        "Tus-Resumable: 1.0.0",
        "Content-Type: application/offset+octet-stream",
        "Upload-Offset: 0",
        f"Content-Length: {size}",
    ]
    writer.write("\r\n".join([*head, "", ""]).encode())
    await writer.drain()


async def test_a_phone_takes_over_from_its_own_dead_connection(running, monkeypatch):
    """Long before the lease of six seconds ends: the request that waits for a client offers the upload to others."""
    monkeypatch.setattr(resumable, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(resumable, "STALLED_SECONDS", 0.2)
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    async with connect(client.base_url) as (_, writer):
        await begin_patch(client, writer, url, len(content))
        writer.write(content[:100])
        async with asyncio.timeout(5):
            while (answer := await tus.patch(client, url, 0, content)).status_code != 204:
                assert (answer.status_code, answer.json()["code"]) == (423, "upload_busy")
                assert answer.headers["Retry-After"] == "1"
                await asyncio.sleep(0.1)
    assert answer.headers["Gallery-Image"]


async def test_a_slow_client_goes_on_where_no_other_wants_the_upload(running, monkeypatch):
    monkeypatch.setattr(resumable, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(resumable, "STALLED_SECONDS", 0.1)
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    async with connect(client.base_url) as (reader, writer):
        await begin_patch(client, writer, url, len(content))
        writer.write(content[:100])
        await asyncio.sleep(0.6)
        writer.write(content[100:])
        assert b" 204 " in await asyncio.wait_for(reader.readline(), 10)


async def test_the_loser_of_a_take_over_changes_nothing(running, monkeypatch):
    monkeypatch.setattr(resumable, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(resumable, "STALLED_SECONDS", 0.1)
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    async with connect(client.base_url) as (reader, writer):
        await begin_patch(client, writer, url, len(content))
        writer.write(b"x" * 1000)  # another beginning than the winner's
        await asyncio.sleep(0.5)
        assert (await tus.patch(client, url, 0, content[: 8 * MIB])).status_code == 204
        writer.write(b"x" * (len(content) - 1000))
        assert (await read_response(reader))[0] in (415, 423)
    answer = await tus.patch(client, url, 8 * MIB, content[8 * MIB :])
    image = (await client.get(answer.headers["Content-Location"])).json()
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert await unfinished(gallery) == []


async def test_an_upload_that_is_cancelled_while_its_object_begins_leaves_nothing(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    begin = gallery.objects.multipart.begin

    async def begin_and_cancel(*args: Any) -> str:
        handle = await begin(*args)
        assert (await client.delete(url, headers=tus.VERSION)).status_code == 204
        return handle

    monkeypatch.setattr(gallery.objects.multipart, "begin", begin_and_cancel)
    answer = await tus.patch(client, url, 0, content)
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")
    assert await unfinished(gallery) == []


# --- keys, tickets and protocols --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"title": "Other"}, {"size": 9}, {"sha256": "1" * 64}])
async def test_an_idempotency_key_is_for_one_file(running, change):
    _, client = running
    first = {"title": "Lake", "sha256": "0" * 64, "size": 8}
    then = first | change
    for sent, status in ((first, 201), (first, 201), (then, 422)):
        size, fields = sent["size"], {name: value for name, value in sent.items() if name != "size"}
        answer = await tus.create(client, size, idempotencyKey="tus", **fields)
        direct_answer = await client.post(f"{tus.BASE}/direct", json=sent, headers={"Idempotency-Key": "direct"})
        assert (answer.status_code, direct_answer.status_code) == (status, status)
    assert answer.json()["code"] == direct_answer.json()["code"] == "idempotency_key_reused"


async def test_an_idempotency_key_may_be_a_header_of_tus_too(running):
    _, client = running
    first = await tus.created(client, 8, {"Idempotency-Key": "k1"})
    assert await tus.created(client, 8, {"Idempotency-Key": "k1"}) == first
    assert await tus.created(client, 8, idempotencyKey="k1") == first
    assert await tus.created(client, 8, {"Idempotency-Key": "k1"}, idempotencyKey="k2") != first
    answer = await tus.create(client, 8, {"Idempotency-Key": ""})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")


async def test_a_key_of_an_unfinished_upload_is_in_use_by_other_ways(running):
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content), idempotencyKey="k1")
    begin = {"json": {"size": len(content)}, "headers": {"Idempotency-Key": "k1"}}
    answer = await client.post(f"{tus.BASE}/direct", **begin)
    assert (answer.status_code, answer.json()["code"]) == (409, "still_in_flight")
    image = (await tus.patch(client, url, 0, content)).headers["Gallery-Image"]
    ended = (await client.post(f"{tus.BASE}/direct", **begin)).json()
    assert (ended["image"], ended["parts"]) == (image, [])


FIELDS = {"title": "Lake", "tags": ["a", "b"]}


async def by_tus(client: httpx.AsyncClient, size: int, **values: str) -> httpx.Response:
    return await tus.create(client, size, idempotencyKey="k1", title="Lake", tags='["a","b"]', **values)


async def by_direct(client: httpx.AsyncClient, size: int, **values: str) -> httpx.Response:
    body = {"size": size, **FIELDS, **values}
    return await client.post(f"{tus.BASE}/direct", json=body, headers={"Idempotency-Key": "k1"})


@pytest.mark.parametrize("begin", [by_tus, by_direct])
async def test_a_key_that_another_way_has_answered_needs_no_bytes(running, begin):
    gallery, client = running
    content = photos.a_jpeg()
    sha256 = hashlib.sha256(content).hexdigest()
    form = {"files": {"file": ("a.jpg", content)}, "data": FIELDS, "headers": {"Idempotency-Key": "k1"}}
    first = (await client.post("/api/v1/images", **form)).json()
    for change in ({"sha256": "0" * 64}, {"alt": "Water"}):
        answer = await begin(client, len(content), **change)
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert (await begin(client, len(content) + 1)).json()["code"] == "idempotency_key_reused"
    begun = await begin(client, len(content), sha256=sha256)
    assert begun.status_code == 201
    assert (begun.headers.get("Gallery-Image") or begun.json()["image"]) == first["id"]
    upload = (await client.get(begun.headers["Location"])).json()
    assert (upload["image"], upload["received"]) == (first["id"], len(content))
    assert (await begin(client, len(content))).headers["Location"] == begun.headers["Location"]
    assert await count(gallery, "image") == 1


async def test_a_ticket_finds_no_answers_of_its_owner(running):
    _, client = running
    content = photos.a_jpeg()
    key = {"Idempotency-Key": "k1"}
    await client.post("/api/v1/images", files={"file": content}, headers=key)
    ticket = upload_headers((await create_upload_ticket(client))["ticket"])
    begun = await tus.create(client, len(content), ticket, idempotencyKey="k1")
    assert (begun.status_code, begun.headers.get("Gallery-Image")) == (201, None)


async def test_an_upload_goes_on_by_the_protocol_that_began_it(running):
    _, client = running
    content = photos.a_jpeg()
    by_tus = await tus.created(client, len(content))
    begun = (await client.post(f"{tus.BASE}/direct", json={"size": len(content)})).json()
    for answer in (
        await tus.patch(client, f"{tus.BASE}/{begun['id']}", 0, content),
        await client.post(f"{by_tus}/complete"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")


async def test_a_retry_by_a_ticket_that_is_used_up_gets_its_upload_again(running):
    _, client = running
    content = photos.a_jpeg()
    made = await create_upload_ticket(client)
    client.headers.update(upload_headers(made["ticket"]))
    url = await tus.created(client, len(content), idempotencyKey="k1")
    image = (await tus.patch(client, url, 0, content)).headers["Gallery-Image"]
    again = await tus.create(client, len(content), idempotencyKey="k1")
    assert (again.status_code, again.headers["Gallery-Image"]) == (201, image)
    other = await tus.create(client, len(content))
    assert (other.status_code, other.json()["code"]) == (403, "upload_ticket_used_up")


async def test_the_urls_of_a_revoked_ticket_lead_to_nothing(running):
    gallery, client = running
    content = large_photo(9 * MIB)
    made = await create_upload_ticket(client)
    ticket = upload_headers(made["ticket"])
    begun = (await client.post(f"{tus.BASE}/direct", json={"size": len(content)}, headers=ticket)).json()
    first, second = begun["parts"]
    async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as page:
        sent = await page.put(first["url"], content=content[: first["to"]], headers=first["headers"])
        assert sent.status_code == 200
        assert (await client.delete(f"{tus.BASE}/tickets/{made['id']}")).status_code == 204
        assert (await client.get(f"{tus.BASE}/{begun['id']}")).status_code == 404
        await sweep(gallery)
        late = await page.put(second["url"], content=content[second["from"] :], headers=second["headers"])
    assert late.status_code == 404
    assert await unfinished(gallery) == []


async def test_the_upload_of_a_ticket_is_no_other_tickets(running):
    _, client = running
    content = photos.a_jpeg()
    ticket, other = [upload_headers((await create_upload_ticket(client))["ticket"]) for _ in range(2)]
    url = await tus.created(client, len(content), ticket)
    assert (await tus.head(client, url, other)).status_code == 404
    assert (await tus.patch(client, url, 0, content, other)).status_code == 404
    assert (await client.delete(url, headers={**tus.VERSION, **other})).status_code == 404
    assert (await tus.head(client, url, ticket)).status_code == 200
