"""Kept responses from the server's protocol: the same as through ASGI, in order, and only where a request begins."""

import asyncio
import json
import logging
import math
import time
from contextlib import asynccontextmanager, nullcontext
from ipaddress import ip_network

import msgspec
import prometheus_client
import pytest

from conftest import running_application
from factories import post
from gallery.cli.sockets import listen
from gallery.images.change_tokens import Reading, own_change_tokens
from gallery.images.reusable import ResponseKind
from gallery.ops import request_log, tracing
from gallery.settings import ServeSettings
from gallery.web.kept_responses import KeptResponse, KeptResponses, encode_head
from gallery.web.middleware.proxies import Proxies
from gallery.web.middleware.repeat import KnownRequests, ParsedRequest, Repeater
from gallery.web.request_key import RequestKey
from gallery.web.routing import Route
from gallery.web.server import Server
from http_sockets import connect, read_response, read_rest

TARGET = b"/api/v1/images/lake"
KEPT = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % TARGET
COLD = b"GET /api/v1/images/dawn HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAKE, DAWN = b"the lake", b"/api/v1/images/dawn"


class Application:
    """Answers with the path, at once or when it may, and without reading the body."""

    def __init__(self):
        self.asked = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, scope, receive, send):
        self.asked.append((scope["method"], scope["raw_path"]))
        await self.may_answer.wait()
        body = scope["raw_path"]
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Running:
    """A server that keeps one response, `LAKE` at `TARGET`."""

    def __init__(self, proxies=(), **settings):
        tokens = own_change_tokens()
        tokens.set_caught_up(time.monotonic_ns() + 10**12)
        self.responses = KeptResponses(tokens, 10_000_000)
        self.repeater = Repeater(self.responses, Proxies([ip_network(p) for p in proxies]))
        self.application = Application()
        settings = ServeSettings(**settings)
        self.server = Server(self.application, settings, before_stop=lambda: None, repeater=self.repeater)
        self.keep(LAKE)

    def keep(self, body, headers=((b"host", b"localhost"),), scheme="http", **more):
        key = RequestKey.of(TARGET, scheme, "1.1", headers)
        own = [(b"content-length", b"%d" % len(body))]
        entry = KeptResponse(
            status=200, headers=own, head=encode_head(200, own, len(body)), body=body, etag=None,
            kind=ResponseKind.IMAGE, reading=Reading(0, 0), valid_until=math.inf, link_expires_at=None,
            route=Route("/api/v1/images/{image_id}", {}), path=TARGET.decode(), caller=None,
        )  # fmt: skip
        self.responses.put(key, msgspec.structs.replace(entry, **more))

    @property
    def protocol(self):
        """The only connection's."""
        (protocol,) = self.server.server_state.connections
        return protocol


@asynccontextmanager
async def running(**settings):
    it = Running(**settings)
    with listen("127.0.0.1", 0) as sock:
        serving = asyncio.create_task(it.server.serve(sockets=[sock]))
        while not it.server.started:
            await asyncio.sleep(0.01)
        it.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            yield it
        finally:
            it.application.may_answer.set()
            it.server.stop()
            it.server.stop()  # also ends a drain
            await serving


async def ask(reader, writer, data=KEPT):
    writer.write(data)
    return await read_response(reader)


async def test_a_kept_response_is_sent_without_the_application():
    async with running() as it, connect(it.url) as streams:
        assert [await ask(*streams) for _ in range(5)] == [(200, LAKE)] * 5
        assert it.application.asked == []
        assert await ask(*streams, COLD) == (200, DAWN)
        assert await ask(*streams) == (200, LAKE)


async def test_a_head_in_several_pieces_is_answered_too():
    async with running() as it, connect(it.url) as (reader, writer):
        for _ in range(3):
            for piece in (KEPT[:20], KEPT[20:50], KEPT[50:]):
                writer.write(piece)
                await asyncio.sleep(0.02)
            assert await read_response(reader) == (200, LAKE)
        assert it.application.asked == []
        assert it.repeater.known_requests.size == 0, "none of the pieces is a request"


@pytest.mark.parametrize("warm", [0, 2])
async def test_responses_keep_the_order_of_requests_that_come_together(warm):
    async with running() as it, connect(it.url) as (reader, writer):
        for _ in range(warm):
            await ask(reader, writer)
        for _ in range(2):
            writer.write(KEPT + COLD + KEPT + KEPT + COLD + KEPT)
            answers = [await read_response(reader) for _ in range(6)]
            assert [body for _, body in answers] == [LAKE, DAWN, TARGET, TARGET, DAWN, TARGET], "the first is repeated"
            writer.write(KEPT + KEPT)
            assert [await read_response(reader) for _ in range(2)] == [(200, LAKE), (200, TARGET)]


@pytest.mark.parametrize("warm", [0, 2])
async def test_no_response_overtakes_one_that_is_not_ready(warm):
    async with running() as it, connect(it.url) as (reader, writer):
        for _ in range(warm):
            await ask(reader, writer)
        it.application.may_answer.clear()
        writer.write(COLD)
        await asyncio.sleep(0.05)
        writer.write(KEPT)
        await asyncio.sleep(0.05)
        it.application.may_answer.set()
        assert [(await read_response(reader))[1] for _ in range(2)] == [DAWN, TARGET]


@pytest.mark.parametrize("warm", [0, 2])
async def test_the_same_bytes_in_a_body_or_in_a_head_are_no_request(warm):
    async with running() as it, connect(it.url) as (reader, writer):
        for _ in range(warm):
            await ask(reader, writer)
        head = b"POST /api/v1/images/dawn HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(KEPT)
        assert await ask(reader, writer, head) == (200, DAWN), "before its body was sent"
        writer.write(KEPT)
        await asyncio.sleep(0.05)
        assert await ask(reader, writer, COLD) == (200, DAWN)
        assert await ask(reader, writer, head) == (200, DAWN)
        assert await ask(reader, writer, bytes(len(KEPT)) + KEPT) == (200, LAKE)
        assert it.repeater.known_requests.find("", bytes(len(KEPT)) + KEPT) is None
        writer.write(COLD[:-2])
        await asyncio.sleep(0.05)
        writer.write(b"X: " + KEPT)
        assert await read_response(reader) == (200, DAWN)
        writer.write(COLD[:-2])
        await asyncio.sleep(0.05)
        assert (await ask(reader, writer))[0] == 400, "a header of this name is not valid"
        assert [path for _, path in it.application.asked] == [DAWN] * 4


@pytest.mark.parametrize(
    "request_",
    [
        KEPT.replace(b"1.1", b"1.0"),
        KEPT.replace(b"1.1", b"1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),
        KEPT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        KEPT.replace(b"GET", b"POST"),
        KEPT.replace(b"GET", b"DELETE"),
        KEPT.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"),
        KEPT.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        KEPT.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
        KEPT.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        KEPT.replace(b"\r\n\r\n", b"\r\nX-API-Key: other\r\n\r\n"),
        KEPT.replace(b"\r\n\r\n", b"\r\nRange: bytes=0-1\r\n\r\n"),
        KEPT.replace(b"localhost", b"localhost:1"),
        KEPT.replace(TARGET, TARGET + b"?a=b"),
        KEPT.replace(TARGET, TARGET.replace(b"lake", b"%6cake")),
    ],
    ids=lambda request: request.decode().replace("\r\n", "|"),
)
async def test_the_application_answers_every_other_request(request_):
    async with running() as it:
        for header in ((b"content-length", b"0"), (b"transfer-encoding", b"chunked"), (b"expect", b"100-continue")):
            it.keep(LAKE, [(b"host", b"localhost"), header])
        it.keep(LAKE, [(b"host", b"localhost"), (b"upgrade", b"websocket")])
        async with connect(it.url) as (reader, writer):
            await ask(reader, writer)
            writer.write(request_)
            await read_response(reader)
        assert len(it.application.asked) == 1


async def test_a_head_request_gets_the_same_head_without_a_body():
    async with running() as it, connect(it.url) as (reader, writer):
        writer.write(KEPT.replace(b"GET", b"HEAD"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\ncontent-length: %d\r\n" % len(LAKE) in head
        writer.write(KEPT.replace(b"GET", b"HEAD"))
        assert len(await reader.readuntil(b"\r\n\r\n")) == len(head)
        assert await ask(reader, writer) == (200, LAKE), "no byte of a body came before"
        assert it.application.asked == []


async def test_a_response_that_uvicorn_would_not_send_as_it_is_passes_through_asgi():
    assert encode_head(200, [(b"content-length", b"4"), (b"etag", b'"1"')], 4) == (
        b'HTTP/1.1 200 OK\r\ncontent-length: 4\r\netag: "1"\r\n'
    )
    assert encode_head(304, [(b"etag", b'"1"')], 0) == b'HTTP/1.1 304 Not Modified\r\netag: "1"\r\n'
    length = (b"content-length", b"4")
    for headers in (
        [],
        [(b"content-length", b"5")],
        [length, length],
        [length, (b"connection", b"close")],
        [(b"transfer-encoding", b"chunked")],
        [length, (b"x-name", b"a\r\nset-cookie: b")],
        [length, (b"x name", b"a")],
    ):
        assert encode_head(200, headers, 4) is None
    assert encode_head(304, [length], 0) is None
    async with running() as it, connect(it.url) as streams:
        it.keep(LAKE, head=None)
        assert await ask(*streams) == (200, TARGET)


async def test_a_stopping_server_closes_the_connection_with_the_next_response():
    async with running(drain=5) as it, connect(it.url) as (reader, writer):
        await ask(reader, writer)
        await ask(reader, writer)
        it.server.stop()
        writer.write(KEPT)
        assert b"\r\nconnection: close\r\n" in await read_rest(reader)


async def test_idle_connections_are_closed_when_the_server_ends():
    async with running() as it, connect(it.url) as (reader, writer):
        await ask(reader, writer)
        await ask(reader, writer)
        it.server.stop()
        assert await read_rest(reader) == b""


async def test_a_client_that_reads_nothing_gets_no_more_than_the_buffer():
    async with running() as it:
        it.keep(bytes(60_000))
        async with connect(it.url) as (reader, writer):
            await ask(reader, writer)
            writer.transport.pause_reading()
            for _ in range(300):
                writer.write(KEPT)
                await asyncio.sleep(0.003)  # so that each arrives by itself
            assert it.protocol.transport.get_write_buffer_size() < 1_000_000
            writer.transport.resume_reading()
            bodies = [(await read_response(reader))[1] for _ in range(300)]
        assert set(bodies) == {bytes(60_000), TARGET}


async def test_a_connection_stays_open_while_it_is_used_and_not_longer():
    async with running(header_timeout=0.3) as it, connect(it.url) as (reader, writer):
        await ask(reader, writer, COLD)
        it.protocol.timeout_keep_alive = 0.5
        for _ in range(6):
            await ask(reader, writer)
            await asyncio.sleep(0.2)
        started = time.monotonic()
        assert await read_rest(reader) == b""
        assert 0.1 < time.monotonic() - started < 1


async def test_a_connection_is_not_idle_while_a_request_waits_that_came_with_a_kept_one():
    async with running() as it, connect(it.url) as (reader, writer):
        it.application.may_answer.clear()
        assert await ask(reader, writer, KEPT + COLD) == (200, LAKE)
        assert not it.protocol.idle
        it.application.may_answer.set()
        assert await read_response(reader) == (200, DAWN)
        assert it.protocol.idle


async def test_an_idle_connection_has_no_deadline_for_a_head_and_a_slow_head_has_one():
    async with running(header_timeout=0.3) as it:
        async with connect(it.url) as streams:
            await ask(*streams)
        async with connect(it.url) as (reader, writer):
            for _ in range(2):
                assert await ask(reader, writer) == (200, LAKE), "without a parser from the first request on"
                await asyncio.sleep(0.5)
            started = time.monotonic()
            writer.write(KEPT[:20])
            assert b" 408 " in await read_rest(reader)
            assert 0.25 < time.monotonic() - started < 2


async def test_each_of_two_slow_heads_has_the_whole_time():
    async with running(header_timeout=0.5) as it, connect(it.url) as (reader, writer):
        await ask(reader, writer)
        writer.write(KEPT[:20])
        for _ in range(3):
            await asyncio.sleep(0.3)
            writer.write(KEPT[20:] + KEPT[:20])
            assert await read_response(reader) == (200, LAKE)


async def test_a_connection_ends_without_an_error():
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    try:
        async with running() as it:
            for abort in (False, True):
                async with connect(it.url) as (reader, writer):
                    await ask(reader, writer)
                    if abort:
                        writer.transport.abort()
                await asyncio.sleep(0.05)
            assert not it.server.server_state.connections
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert errors == []


async def test_the_same_bytes_mean_another_scheme_from_a_proxy():
    proto = KEPT.replace(b"\r\n\r\n", b"\r\nX-Forwarded-Proto: https\r\n\r\n")
    async with running(proxies=["127.0.0.1"]) as it:
        it.keep(b"by https", scheme="https")
        for _ in range(3):
            async with connect(it.url) as streams:
                assert await ask(*streams, proto) == (200, b"by https")
            async with from_address("127.0.0.2", it.url) as streams:
                assert await ask(*streams, proto) == (200, LAKE)


@asynccontextmanager
async def from_address(address, url):
    port = int(url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    yield reader, writer
    writer.close()


async def test_a_traced_request_has_its_span(monkeypatch):
    class Traces:
        def span(self, *_):
            return nullcontext(tracing.NoOpSpan())

        def current_ids(self):
            return {}

    async with running() as it, connect(it.url) as streams:
        await ask(*streams)
        with tracing.using(Traces()):
            assert await ask(*streams) == (200, TARGET), "the application's middleware makes it"
        assert await ask(*streams) == (200, LAKE)


async def test_a_response_that_has_become_too_old_is_not_repeated():
    async with running() as it, connect(it.url) as streams:
        await ask(*streams)
        it.responses._tokens.replace_all()
        assert await ask(*streams) == (200, TARGET)
        assert await ask(*streams) == (200, TARGET)


def test_known_requests_take_no_more_memory_than_allowed():
    known = KnownRequests(max_bytes=100_000)
    request = ParsedRequest(RequestKey.of(TARGET, "http", "1.1", []), "GET", "")
    for number in range(1000):
        known.add("", b"%d" % number, request)
        assert known.size <= 100_000
        assert len(known._requests) <= 50
    known.add("", bytes(100_000), request)
    assert known.find("", bytes(100_000)) is None


# --- measured and logged like any other request -----------------------------------------------------------------------


def durations(method):
    labels = {"method": method, "route": "/api/v1/images/{image_id}", "status": "2xx"}
    name = "gallery_http_request_duration_seconds_count"
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0


class Lines(logging.StreamHandler):
    def __init__(self):
        self.lines = []

    def add_line(self, line):
        self.lines.append(json.loads(line))


@pytest.fixture
def log_lines():
    handler = Lines()
    request_log.use(request_log.RequestLog(handler, logging.INFO, {}))
    yield handler.lines
    request_log.use(None)


async def test_the_log_names_the_caller(log_lines):
    async with running() as it, connect(it.url) as streams:
        it.keep(LAKE, caller="key:1")
        await ask(*streams)
    assert [line["caller"] for line in log_lines] == ["key:1"]


async def test_each_request_is_measured_and_logged_with_its_id(environment, log_lines):
    async with running_application(environment) as (gallery, client):
        while not gallery.change_tokens.caught_up:
            await asyncio.sleep(0.02)
        path = f"/api/v1/images/{(await post(client)).json()['id']}"
        log_lines.clear()
        before = durations("GET"), durations("HEAD")
        responses = [await client.get(path) for _ in range(5)]
        responses += [await client.head(path) for _ in range(3)]
        responses += [
            await client.get(path, headers={"X-Request-Id": given}) for given in ("mine", "mine", "not valid")
        ]
    ids = [response.headers["x-request-id"] for response in responses]
    assert ids[8:10] == ["mine", "mine"]
    assert len(set(ids)) == 10
    assert [line["request"] for line in log_lines] == ids
    facts = [(line["method"], line["path"], line["status"], line["event"]) for line in log_lines]
    assert facts == [("HEAD" if 5 <= n < 8 else "GET", path, 200, "request") for n in range(11)]
    assert all(line["ms"] >= 0 for line in log_lines)
    assert (durations("GET") - before[0], durations("HEAD") - before[1]) == (8, 3)
