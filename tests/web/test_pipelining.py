"""Pipelined requests on one connection: each gets its response, independently of later ones."""

import asyncio
import json
import socket

import httpx
import pytest

from gallery.settings import ServeSettings
from gallery.web import closing
from gallery.web.protocol import MAX_HEADER_BYTES, MAX_TRAILER_BYTES
from gallery.web.server import Server
from http_sockets import connect, read_response, read_rest, serve_app

GET = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD = {
    "a head that is none": b"NONSENSE\r\n\r\n",
    "a target that is none": b"GET \x00 HTTP/1.1\r\n\r\n",
    "a head too large": b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEADER_BYTES + 1) + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"x:\r\n" * (MAX_HEADER_BYTES // 16) + b"\r\n",
    "a bad chunk": POST + b"z\r\n",
    "a bad chunk behind a good one": POST + b"1\r\nx\r\nz\r\n",
    "a trailer too large": POST + b"0\r\nX: " + b"x" * (MAX_TRAILER_BYTES + 1) + b"\r\n\r\n",
}


class Slow:
    """Answers each request with its path, whole body and number, when it is let."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.paths: list[str] = []
        self.left: list[str] = []

    async def __call__(self, scope, receive, send):
        path, more, size = scope["path"], True, 0
        self.paths.append(path)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.append(path)
                return
            size, more = size + len(message["body"]), message["more_body"]
        await self.may.wait()
        body = b"%s %d" % (path.encode(), size)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_refused_request_keeps_the_responses_to_earlier_requests(bad, before, at_once):
    app = Slow()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        good = b"".join(GET % number for number in range(before))
        if at_once:
            writer.write(good + bad)
        else:
            writer.write(good)
            await asyncio.sleep(0.1)
            writer.write(bad)
        await asyncio.sleep(0.2)
        app.may.set()
        received = await read_rest(reader)
    assert received.count(b"HTTP/1.1 200 OK") == received.count(b"HTTP/1.1") == before
    assert all(b"/%d 0" % number in received for number in range(before))
    assert app.paths == [f"/{number}" for number in range(before)]


async def test_a_head_that_drips_behind_them_does_not_either():
    app = Slow()
    async with serve_app(app, header_timeout=0.3) as url, connect(url) as (reader, writer):
        writer.write(GET % 0 + b"GET /1 HTTP/1.1\r\n")
        await asyncio.sleep(0.8)
        app.may.set()
        assert (await read_rest(reader)).count(b"HTTP/1.1 200 OK") == 1


async def test_an_answer_under_way_is_finished_first():
    """For responses with a known length."""
    may = asyncio.Event()

    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await may.wait()
        await send({"type": "http.response.body", "body": b"half"})

    async with serve_app(half) as url, connect(url) as (reader, writer):
        writer.write(GET % 0)
        await reader.readuntil(b"half")
        writer.write(b"NONSENSE\r\n\r\n")
        await asyncio.sleep(0.2)
        may.set()
        assert await read_rest(reader) == b"half"


async def test_an_upload_behind_an_answer_has_its_own_time(monkeypatch):
    monkeypatch.setattr(closing, "LINGER_SECONDS", 0.3)
    app = Slow()
    app.may.set()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        writer.write(GET % 0 + b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        assert await read_response(reader) == (200, b"/0 0")
        await asyncio.sleep(0.7)
        writer.write(b"cd")
        assert await read_response(reader) == (200, b"/1 4")


async def test_a_large_body_is_no_head_of_the_request_behind_it():
    app = Slow()
    app.may.set()
    large = b"POST /0 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    async with serve_app(app) as url, connect(url) as (reader, writer):
        body = bytes(200_000)
        for _ in range(5):  # how many bytes come in one block is the kernel's choice
            writer.write(large % len(body) + body + b"GET /1 HT")
            assert await read_response(reader) == (200, b"/0 200000")
            writer.write(b"TP/1.1\r\nHost: x\r\n\r\n")
            assert await read_response(reader) == (200, b"/1 0")


async def test_heads_behind_a_body_are_bounded_all_the_same():
    app = Slow()
    app.may.set()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        writer.write(b"POST /0 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbodyGET / HTTP/1.1\r\nX: ")
        assert await read_response(reader) == (200, b"/0 4")
        for _ in range(7):
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.01)
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 431 ")


async def test_a_disconnect_ends_all_requests_of_a_connection():
    """Also by one that is answered while others wait behind it, as a stream is."""
    gone = asyncio.Event()

    async def stream(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        waiting = asyncio.ensure_future(receive())
        while not waiting.done():
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            await asyncio.sleep(0.05)
        assert waiting.result()["type"] == "http.disconnect"
        gone.set()

    async with serve_app(stream) as url:
        async with connect(url) as (reader, writer):
            writer.write(GET % 0 + GET % 1)
            await reader.read(100)
            writer.transport.abort()
        async with asyncio.timeout(5):
            await gone.wait()


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.0"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_another_protocol_is_not_changed_to(upgrade, at_once, caplog):
    """Clients offer HTTP/2 in this way (Java's, `curl --http2`), followed by the body of an upload."""
    app = Slow()
    app.may.set()
    ask = b"Host: x\r\nUpgrade: %b\r\nConnection: Upgrade\r\n" % upgrade
    ask += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    requests = [
        b"GET /0 HTTP/1.1\r\n" + ask + b"\r\n",
        b"POST /1 HTTP/1.1\r\nContent-Length: 4\r\n" + ask + b"\r\nbody",
        b"POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + ask + b"\r\n4\r\nbody\r\n0\r\nX-Trailer: x\r\n\r\n",
        b"POST /3 HTTP/1.1\r\nContent-Length: 0\r\n" + ask + b"\r\n",
        GET % 4,
    ]
    async with serve_app(app) as url, connect(url) as (reader, writer):
        for number, request in enumerate(requests) if not at_once else [(0, b"".join(requests))]:
            writer.write(request[:-2])
            await asyncio.sleep(0.1)
            writer.write(request[-2:])
            if not at_once:
                assert await read_response(reader) == (200, b"/%d %d" % (number, 4 if number in (1, 2) else 0))
        if at_once:
            found = [await read_response(reader) for _ in requests]
            assert found == [(200, body) for body in (b"/0 0", b"/1 4", b"/2 4", b"/3 0", b"/4 0")]
    assert not caplog.records


@pytest.mark.parametrize("rest_", [b"z\r\n", b"4\r\nbodyX"])
async def test_its_body_is_framed_as_any_other(rest_):
    app = Slow()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        ask = b"Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(b"POST /0 HTTP/1.1\r\n" + ask + rest_)
        status, body = await read_response(reader)
        assert (status, json.loads(body)["code"]) == (400, "malformed_request")


async def test_many_upgrade_requests_in_one_block_are_answered():
    """More requests than Python allows frames on its stack."""
    app = Slow()
    app.may.set()
    ask = b"Host: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    async with serve_app(app) as url, connect(url) as (reader, writer):
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\n" % number + ask for number in range(500)))
        for _ in range(500):
            assert (await read_response(reader))[0] == 200


def test_an_installed_websocket_library_takes_over_no_connection():
    assert Server(Slow(), ServeSettings(), before_stop=lambda: None).config.ws == "none"


async def test_a_client_that_does_not_read_its_last_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr(closing, "WRITE_TIMEOUT_SECONDS", 0.5)
    written, size = asyncio.Event(), 20_000_000
    connections = []

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size)})
        connections.append(scope["extensions"]["gallery.abort"].__self__)
        written.set()

    async with serve_app(large) as url:
        with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port)) as client:
            client.sendall(b"GET /0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await written.wait()
            assert connections[0].get_write_buffer_size(), "more than the kernel keeps"
            async with asyncio.timeout(10):
                while connections[0].get_write_buffer_size():
                    await asyncio.sleep(0.05)


async def test_one_that_reads_slowly_gets_all_of_it(monkeypatch):
    monkeypatch.setattr(closing, "WRITE_TIMEOUT_SECONDS", 0.3)
    size = 4_000_000

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size)})

    async with serve_app(large) as url, connect(url) as (reader, writer):
        writer.write(b"GET /0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        got = 0
        while got < size and (data := await reader.read(65536)):
            got += len(data)
            await asyncio.sleep(0.02)
        assert got == size


async def test_a_refusal_has_a_reason_when_no_response_is_outstanding():
    app = Slow()
    app.may.set()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        writer.write(GET % 0)
        assert await read_response(reader) == (200, b"/0 0")
        writer.write(BAD["a bad chunk"])
        status, body = await read_response(reader)
        assert (status, json.loads(body)["code"]) == (400, "malformed_request")
