"""A client that disconnects before its request is complete: nothing of it stays, and it is no server error."""

import asyncio

import pytest
from structlog.testing import capture_logs

import photos
from conftest import running_application
from factories import post
from http_sockets import connect
from scraping import Scrape, scrape

FORM = b"Content-Type: multipart/form-data; boundary=x"
TITLE = b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nLa'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
BODIES = {
    "nothing of the body": b"",
    "half a boundary": b"-",
    "half a part's header": FILE[:20],
    "half a field": TITLE,
    "half a small file": FILE + photos.a_jpeg()[:500],
    "half a large file": FILE + photos.a_jpeg() + bytes(3_000_000),
}
UPLOAD = {"method": "POST", "route": "/api/v1/images"}
EDIT = {"method": "PATCH", "route": "/api/v1/images/{image_id}"}
LENGTH, CHUNKED = b"Content-Length: 9000000", b"Transfer-Encoding: chunked"


def bytes_of(line: bytes, framing: bytes, body: bytes, *headers: bytes) -> bytes:
    head = b"\r\n".join([line + b" HTTP/1.1", b"Host: 127.0.0.1", framing, *headers, b"", b""])
    return head + (b"%x\r\n%b" % (len(body) + 1, body) if framing == CHUNKED and body else body)


def request_count(scrape: Scrape, status: str, **labels: str) -> float:
    return scrape.value("http_request_duration_seconds_count", status=status, **labels)


async def disconnect(client, sent: bytes, **request: str) -> list[dict]:
    """Send `head`, close, and wait until `request` (a method and a route) counts as gone; returns the log lines."""
    before = await scrape(client)
    with capture_logs() as logged:
        async with connect(client.base_url) as (_, writer):
            writer.write(sent)
            await writer.drain()
            await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            while request_count(after := await scrape(client), "gone", **request) == request_count(
                before, "gone", **request
            ):
                await asyncio.sleep(0.05)
    assert [request_count(after, status) for status in ("4xx", "5xx")] == [
        request_count(before, s) for s in ("4xx", "5xx")
    ]
    return logged


def logged_no_error(logged: list[dict], path: str) -> bool:
    """One log line, without a status."""
    lines = [line for line in logged if line.get("path") == path]
    assert [(line["event"], line["status"]) for line in lines] == [("request", None)]
    assert not [line for line in logged if line["log_level"] in ("warning", "error") or "refused" in line["event"]]
    return True


async def test_an_upload_is_left_in_the_middle(environment):
    async with running_application(environment) as (gallery, client):
        for framing in (LENGTH, CHUNKED):
            for body in BODIES.values():
                sent = bytes_of(b"POST /api/v1/images", framing, body, FORM)
                logged = await disconnect(client, sent, **UPLOAD)
                assert logged_no_error(logged, "/api/v1/images")
        async with gallery.database.primary() as db:
            assert await db.fetchval("SELECT (SELECT count(*) FROM object) + (SELECT count(*) FROM image)") == 0


@pytest.mark.parametrize("headers", [(), (b"Expect: 100-continue",), (b"Content-Type: application/json",)])
async def test_so_is_an_edit(client, headers):
    path = f"/api/v1/images/{(await post(client)).json()['id']}"
    sent = bytes_of(b"PATCH " + path.encode(), b"Content-Length: 100", b'{"title":', *headers)
    assert logged_no_error(await disconnect(client, sent, **EDIT), path)
    assert (await client.get(path)).json()["version"] == 1


async def test_its_idempotency_key_is_free_at_once(client):
    sent = bytes_of(b"POST /api/v1/images", LENGTH, FILE, FORM, b"Idempotency-Key: 4f7c1e")
    await disconnect(client, sent, **UPLOAD)
    assert (await post(client, headers={"Idempotency-Key": "4f7c1e"})).status_code == 201


async def test_a_client_that_leaves_after_its_answer_has_been_answered(client):
    """The missing rest of a refused body is no disconnect."""
    with capture_logs() as logged:
        async with connect(client.base_url) as (reader, writer):
            writer.write(bytes_of(b"POST /api/v1/images", b"Content-Length: 900000000", b"", FORM))
            assert b" 413 " in await reader.readline()
        await asyncio.sleep(0.2)
    assert [line["status"] for line in logged if line["event"] == "request"] == [413]
