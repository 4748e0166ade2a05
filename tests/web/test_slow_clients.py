"""Slow clients are disconnected, and cost other clients nothing."""

import asyncio
import json

import httpx
import pytest

import photos
from conftest import running_application
from factories import listen, post
from gallery.web import protocol
from http_sockets import connect, read_rest, serve_app

SHORT_TIMEOUTS = {
    "GALLERY_SERVE__HEADER_TIMEOUT": "0.6",
    "GALLERY_SERVE__BODY_GRACE": "0.6",
    "GALLERY_SERVE__MIN_BODY_RATE": "1000",
}
QUICK = {"header_timeout": 0.5, "body_grace": 0.5, "min_body_rate": 1000}
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
END = b"\r\n--x--\r\n"


def head(length: int | None, *more: bytes) -> bytes:
    how = b"Content-Length: %d" % length if length is not None else b"Transfer-Encoding: chunked"
    lines = [b"POST /api/v1/images HTTP/1.1", b"Host: 127.0.0.1", how, *more]
    return b"\r\n".join([*lines, b"Content-Type: multipart/form-data; boundary=x", b"", b""])


async def send_slowly(writer: asyncio.StreamWriter, data: bytes, every: float) -> None:
    for number in range(len(data)):
        if writer.is_closing():
            return
        writer.write(data[number : number + 1])
        await asyncio.sleep(every)


def problem_of(answer: bytes) -> dict:
    """The problem in a response that closes the connection."""
    start, _, body = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in start
    assert b"connection: close" in start.lower()
    return json.loads(body)


async def nothing_stored(gallery) -> bool:
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT (SELECT count(*) FROM object) + (SELECT count(*) FROM image)") == 0


# --- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [100_000, None])
async def test_a_body_that_stops_arriving_is_refused_and_leaves_nothing(environment, length):
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (gallery, client),
        connect(client.base_url) as (reader, writer),
    ):
        part = FILE + photos.a_jpeg()[:5000]
        writer.write(head(length) + (part if length else b"%x\r\n%b\r\n" % (len(part), part)))
        problem = problem_of(await read_rest(reader))
        assert (problem["code"], problem["status"], problem["instance"]) == ("too_slow", 408, "/api/v1/images")
        assert problem["requestId"]
        assert await nothing_stored(gallery)


async def test_a_slow_body_is_refused(environment):
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (gallery, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(head(100_000) + FILE)
        dripping = asyncio.create_task(send_slowly(writer, bytes(1000), 0.02))
        assert (
            problem_of(await read_rest(reader))["code"] == "too_slow"
        )  # the rest would take twice as long as this waits
        dripping.cancel()
        assert await nothing_stored(gallery)


async def test_a_quick_beginning_does_not_pay_for_a_long_pause(environment):
    content = photos.a_jpeg() + bytes(500_000)  # worth 500 s at that rate
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(head(len(FILE + content + END)) + FILE + content)
        problem_of(await read_rest(reader))  # which waits for less than those 500 s


async def test_a_body_at_the_minimum_rate_is_accepted(environment):
    content = photos.a_jpeg()
    body = FILE + content + END
    step = len(body) // 20 + 1
    slow = {"GALLERY_SERVE__BODY_GRACE": "1.8", "GALLERY_SERVE__MIN_BODY_RATE": str(step)}  # it brings ten times that
    async with running_application(environment, **slow) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(head(len(body), b"Connection: close"))
        for place in range(0, len(body), step):
            writer.write(body[place : place + step])
            await asyncio.sleep(0.1)
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 201 ")


async def test_a_pause_within_the_grace_is_forgiven(environment):
    body = FILE + photos.a_jpeg() + END
    async with (
        running_application(environment, GALLERY_SERVE__BODY_GRACE="2") as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(head(len(body), b"Connection: close"))
        for part in (body[:100], body[100:-100], body[-100:]):
            await asyncio.sleep(0.8)
            writer.write(part)
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 201 ")


async def test_without_a_minimum_rate_a_body_has_no_deadline(environment):
    body = FILE + photos.a_jpeg() + END
    patient = {**SHORT_TIMEOUTS, "GALLERY_SERVE__MIN_BODY_RATE": "0"}
    async with running_application(environment, **patient) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(head(len(body), b"Connection: close") + body[:100])
        await asyncio.sleep(1.5)
        writer.write(body[100:])
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 201 ")


async def test_a_slow_body_of_an_edit_is_refused(environment):
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        image = (await post(client)).json()["id"]
        writer.write(
            b"PATCH /api/v1/images/%b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n{"title":' % image.encode()
        )
        assert problem_of(await read_rest(reader))["code"] == "too_slow"


async def test_an_unread_body_does_not_keep_its_connection_open(environment):
    """A request for a stream with a body that never comes."""
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (gallery, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(b"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nx")
        await read_rest(reader, 15)
        async with asyncio.timeout(5):
            while gallery.feed.subscriber_count:
                await asyncio.sleep(0.05)


async def test_a_hundred_slow_uploaders_do_not_stop_a_healthy_one(environment):
    patient = {"GALLERY_SERVE__BODY_GRACE": "3"}
    async with running_application(environment, **patient) as (gallery, client):
        url = httpx.URL(str(client.base_url))
        slow = [await asyncio.open_connection(url.host, url.port) for _ in range(100)]
        for _, writer in slow:
            writer.write(head(1_000_000) + FILE + photos.a_jpeg()[:1000])
        await asyncio.sleep(0.5)
        for _ in range(3):
            async with asyncio.timeout(2):
                assert (await post(client)).status_code in (200, 201)
        answers = await asyncio.gather(*(read_rest(reader, 20) for reader, _ in slow))
        assert {problem_of(answer)["code"] for answer in answers} == {"too_slow"}
        for _, writer in slow:
            writer.close()
        async with gallery.database.primary() as db:
            assert await db.fetchval("SELECT count(*) FROM object WHERE image_id NOT IN (SELECT id FROM image)") == 0


# --- headers ------------------------------------------------------------------------------------------------------


async def test_headers_that_arrive_too_slowly_are_refused(environment):
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(b"GET / HTTP/1.1\r\n")
        dripping = asyncio.create_task(send_slowly(writer, b"X-Long: " + b"x" * 1000, 0.05))
        assert problem_of(await read_rest(reader, 20))["code"] == "too_slow"
        dripping.cancel()


async def test_a_silent_connection_is_closed_without_a_response(environment):
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (_, client),
        connect(client.base_url) as (reader, _),
    ):
        assert await read_rest(reader, 20) == b""


async def test_line_ends_alone_are_refused(environment):
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.1)
        writer.write(b"\r\n")
        assert b"HTTP/1.1 408" not in await read_rest(reader, 20)


async def test_the_next_request_on_a_connection_has_the_same_time(environment):
    async with (
        running_application(environment, GALLERY_SERVE__HEADER_TIMEOUT="2") as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        for _ in range(3):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            await asyncio.sleep(0.8)
            writer.write(b"\r\n")
            assert b"200" in await reader.readuntil(b"}")
        writer.write(b"GET /livez HT")
        assert problem_of(await read_rest(reader, 20))["code"] == "too_slow"


async def test_an_idle_connection_may_wait_for_its_next_request(environment):
    async with (
        running_application(environment, **SHORT_TIMEOUTS) as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        for _ in range(2):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200" in await reader.readuntil(b"}")
            await asyncio.sleep(1.5)


async def test_the_client_of_a_stream_may_send_nothing(environment):
    async with running_application(environment, **SHORT_TIMEOUTS) as (_, client), listen(client) as maya:
        await asyncio.sleep(1.5)
        await post(client)
        await maya.next("image.uploaded")


async def test_headers_without_end_are_refused(environment):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
        for _ in range(7):
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.01)
        answer = await read_rest(reader, 5)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"headers_too_large"' in answer


async def test_a_refused_body_is_drained_however_large_it_is(environment):
    """Bytes after a response are not headers: they are dropped, and the connection goes on."""
    async with (
        running_application(environment, GALLERY_UPLOAD__MAX_BYTES="1000") as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        size = 1_000_000
        writer.write(head(size))
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        for _ in range(10):
            writer.write(bytes(size // 10))
            await asyncio.sleep(0.02)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 OK" in await read_rest(reader)


# --- the server, with an application of our own -------------------------------------------------------------------


async def test_while_the_server_does_not_read_no_client_is_too_slow():
    async def slow_reader(scope, receive, send):
        size = 0
        await asyncio.sleep(1.2)
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % size})

    async with serve_app(slow_reader, **QUICK) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.post("/", content=bytes(1_000_000), timeout=60)
        assert (answer.status_code, answer.text) == (200, "1000000")


async def test_an_application_that_ignores_the_timeout_is_cut_off_with_its_client(monkeypatch):
    monkeypatch.setattr(protocol, "RESPONSE_TIMEOUT_SECONDS", 0.5)
    ended = asyncio.Event()

    async def busy(scope, receive, send):
        await ended.wait()

    async with serve_app(busy, **QUICK) as url, connect(url) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
        assert await read_rest(reader) == b""
        ended.set()
