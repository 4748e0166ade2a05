"""The end of a connection: a client that is still sending sees the last response, and nothing is left of it."""

import asyncio
import gc
import socket
import weakref

import httpx
import pytest
from uvicorn.protocols.http import httptools_impl

from conftest import running_application
from gallery.web import closing, protocol
from http_sockets import connect, read_rest, run_server, serve_app

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
OK = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
UPLOAD = b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
SHORT_GRACE = {"GALLERY_SERVE__BODY_GRACE": "0.6", "GALLERY_SERVE__MIN_BODY_RATE": "1000"}


def open_socket(url: str | httpx.URL) -> socket.socket:
    target = httpx.URL(str(url))
    return socket.create_connection((target.host, target.port), timeout=20)


async def send_to_the_end(client: socket.socket, data: bytes, every: float = 0.05) -> None:
    """Sends everything, in four pieces, before anything is read, as simple clients do."""
    for begin in range(0, len(data), len(data) // 4):
        await asyncio.to_thread(client.sendall, data[begin : begin + len(data) // 4])
        await asyncio.sleep(every)


async def receive_all(client: socket.socket) -> bytes:
    return await asyncio.to_thread(lambda: b"".join(iter(lambda: client.recv(65536), b"")))


async def ignore(scope, receive, send):
    """Answers without the body."""
    await send(OK)
    await send({"type": "http.response.body", "body": b"no"})


async def wait_for_none(connections) -> None:
    async with asyncio.timeout(3):
        while connections:
            await asyncio.sleep(0.02)


# --- clients that go on sending -----------------------------------------------------------------------------------


async def test_a_slow_upload_that_goes_on_sees_why_it_was_refused(environment, monkeypatch):
    monkeypatch.setattr(protocol, "RESPONSE_TIMEOUT_SECONDS", 0.5)  # which is for the application alone
    async with running_application(environment, **SHORT_GRACE) as (_, client):
        with open_socket(client.base_url) as slow:
            slow.sendall(UPLOAD + b"Content-Length: 100000\r\n\r\n")
            await asyncio.sleep(1.5)  # by then it has been refused
            await send_to_the_end(slow, bytes(20_000), every=0.3)
            answer = await receive_all(slow)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"too_slow"' in answer


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_an_upload_on_a_connection_of_its_own_sees_why_it_was_refused(environment, version):
    """As nginx sends it, which by default asks for one response by HTTP/1.0 and sends the body to its end."""
    begin = UPLOAD.replace(b"HTTP/1.1", version) + b"Connection: close\r\nContent-Length: 2000000\r\n\r\n"
    async with running_application(environment, GALLERY_UPLOAD__MAX_BYTES="1000") as (_, client):
        with open_socket(client.base_url) as large:
            large.sendall(begin)
            await asyncio.sleep(0.5)
            await send_to_the_end(large, bytes(2_000_000))
            assert (await receive_all(large)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431"),
        (b"GET / HTTP/9.9\r\n\r\n", b"400"),
        (CHUNKED + b"z\r\n", b"400"),
    ],
)
async def test_a_malformed_request_that_goes_on_sees_why_it_was_refused(environment, begin, status):
    async with running_application(environment) as (_, client):
        with open_socket(client.base_url) as wrong:
            wrong.sendall(begin)
            await asyncio.sleep(0.5)
            await send_to_the_end(wrong, bytes(20_000))
            assert (await receive_all(wrong)).startswith(b"HTTP/1.1 " + status)


async def test_a_malformed_request_may_send_no_megabytes():
    async with run_server(ignore) as (url, server), connect(url) as (reader, writer):
        writer.write(b"NONSENSE\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bytes(closing.MAX_DROPPED_BYTES // 2))
        await asyncio.sleep(0.3)
        assert server.server_state.connections
        writer.write(bytes(closing.MAX_DROPPED_BYTES))
        await wait_for_none(server.server_state.connections)


async def test_pipelined_responses_come_before_the_end_however_much_is_sent_behind_them():
    may = asyncio.Event()

    async def slow(scope, receive, send):
        if scope["path"] == "/1":
            await receive()
            waiting = asyncio.ensure_future(receive())  # which lets the server read on
            await may.wait()
            waiting.cancel()
        await ignore(scope, receive, send)

    async with serve_app(slow) as url:
        with open_socket(url) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_000_000)
            get = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
            client.sendall(get % 0 + get % 1 + b"NONSENSE\r\n\r\n")
            await asyncio.sleep(0.3)
            sending = asyncio.create_task(send_to_the_end(client, bytes(2 * closing.MAX_DROPPED_BYTES)))
            await asyncio.sleep(0.5)
            may.set()
            first = await asyncio.to_thread(client.recv, 65536)
            while first.count(b"HTTP/1.1 200") < 2:
                more = await asyncio.to_thread(client.recv, 65536)
                assert more, "the connection ended before the second response"
                first += more
            with_reset = await asyncio.gather(sending, return_exceptions=True)
            assert with_reset[0] is None or isinstance(with_reset[0], ConnectionError)


# --- the second step ----------------------------------------------------------------------------------------------


async def test_a_client_that_closes_is_noticed_though_its_body_was_not_read(monkeypatch):
    """So much of it arrived at once that reading was paused, and then a chunk that is none."""
    monkeypatch.setattr(httptools_impl, "HIGH_WATER_LIMIT", 1000)
    ended = asyncio.Event()

    async def patient(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    async with run_server(patient) as (url, server), connect(url) as (reader, writer):
        writer.write(CHUNKED + b"1000\r\n" + bytes(0x1000) + b"\r\nz\r\n")
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await wait_for_none(server.server_state.connections)
        async with asyncio.timeout(3):
            await ended.wait()


async def test_a_client_that_closes_is_noticed_though_the_application_failed(monkeypatch):
    monkeypatch.setattr(httptools_impl, "HIGH_WATER_LIMIT", 1000)

    async def failing(scope, receive, send):
        await send(OK)
        raise ValueError("after the head")

    async with run_server(failing) as (url, server), connect(url) as (reader, writer):
        writer.write(POST + b"Content-Length: 100000\r\n\r\n" + bytes(5000))
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await wait_for_none(server.server_state.connections)


async def test_a_client_that_does_not_close_is_disconnected(monkeypatch):
    monkeypatch.setattr(closing, "LINGER_SECONDS", 0.5)
    async with run_server(ignore) as (url, server), connect(url) as (reader, writer):
        writer.write(POST + b"Connection: close\r\nContent-Length: 9\r\n\r\n")
        assert (await read_rest(reader)).endswith(b"no")
        assert server.server_state.connections
        await wait_for_none(server.server_state.connections)


async def test_a_client_that_reads_a_large_response_slowly_gets_all_of_it(monkeypatch):
    monkeypatch.setattr(closing, "LINGER_SECONDS", 1)
    size = 20_000_000  # more than the kernel's buffers hold

    async def large(scope, receive, send):
        await send({**OK, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size)})

    async with serve_app(large) as url:
        with open_socket(url) as client:
            client.sendall(POST + b"Connection: close\r\nContent-Length: 1000\r\n\r\n")
            received = 0
            while data := await asyncio.to_thread(client.recv, 1_000_000):
                received += len(data)
                client.sendall(b"x")
                await asyncio.sleep(0.1)
            assert received > size


@pytest.mark.parametrize("stopped_first", [True, False])
async def test_a_stopping_server_waits_for_no_client_to_close(stopped_first):
    async def patient(scope, receive, send):
        await receive()
        await receive()

    async with run_server(patient) as (url, server), connect(url) as (reader, writer):
        writer.write(CHUNKED + b"1\r\nx\r\n")
        await asyncio.sleep(0.2)
        if stopped_first:
            server.stop()
            await asyncio.sleep(0.3)
        writer.write(b"z\r\n")
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 400 ")
        server.stop()
        await wait_for_none(server.server_state.connections)


async def test_a_connection_that_lingers_makes_room_for_another():
    async with run_server(ignore) as (url, server), connect(url) as (reader, writer):
        writer.write(b"NONSENSE\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        [connection] = server.server_state.connections
        assert connection.idle
        connection.shutdown()
        await wait_for_none(server.server_state.connections)


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", POST + b"Connection: close\r\nContent-Length: 9\r\n\r\nbody", b""],
)
async def test_a_connection_is_freed_when_it_ends(request_):
    gc.disable()
    try:
        async with run_server(ignore) as (url, server), connect(url) as (reader, writer):
            writer.write(request_)
            if request_:
                await reader.readuntil(b"no")
            async with asyncio.timeout(3):
                while not server.server_state.connections:
                    await asyncio.sleep(0.02)
            [connection] = server.server_state.connections
            left = weakref.ref(connection)
            del connection
            writer.close()
            async with asyncio.timeout(3):
                while left() is not None:
                    await asyncio.sleep(0.02)
    finally:
        gc.enable()


# --- streams ------------------------------------------------------------------------------------------------------


async def test_a_stream_whose_request_turns_out_malformed_ends_without_an_error(environment, caplog):
    head = b"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with running_application(environment) as (gallery, client), connect(client.base_url) as (reader, writer):
        writer.write(head + b"z\r\n")
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 400 ")
        async with asyncio.timeout(3):
            while gallery.feed.subscriber_count:
                await asyncio.sleep(0.02)
        assert (await client.get("/livez")).status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
