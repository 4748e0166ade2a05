"""The framing of a request: trailers are not headers, each part has a limit, and there is one host."""

import asyncio
import json

import httpx
import pytest

import photos
from conftest import running_application, serve_api
from credentials import closed_application
from factories import listen
from faults.balancer import balancer
from gallery.web.protocol import MAX_HEADER_BYTES, MAX_TRAILER_BYTES
from http_sockets import connect, read_response, read_rest, serve_app

TICKET = b"POST /api/v1/notifications/ticket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
NO_BODY = b"0\r\n"
UPLOAD = (
    b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n" + CHUNKED
)
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
END = b"\r\n--x--\r\n"


class RecordingApp:
    """An application that records each request after it has read all of it."""

    def __init__(self) -> None:
        self.headers: list[list[tuple[bytes, bytes]]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.headers.append(scope["headers"])
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def send_repeatedly(writer: asyncio.StreamWriter, piece: bytes, max_bytes: int) -> int:
    """The bytes of a repeated `piece` that the server accepts until it closes the connection, at most `max_bytes`."""
    count = 0
    try:
        while count < max_bytes and not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            count += len(piece)
            await asyncio.sleep(0)
    except ConnectionError:
        pass
    return count


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


# --- trailers -----------------------------------------------------------------------------------------------------


async def test_trailer_fields_are_dropped_and_the_connection_goes_on():
    app = RecordingApp()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        for body in (b"", b"three"):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nX-Header: 1\r\n" + CHUNKED)
            writer.write((chunk(body) if body else b"") + NO_BODY)
            writer.write(b"X-Trailer: 2\r\nX-Header: 2\r\nHost: y\r\nExpect: 100-continue\r\n\r\n")
            assert await read_response(reader) == (200, b"")
    assert app.bodies == [b"", b"three"]
    for headers in app.headers:
        assert headers == [(b"host", b"x"), (b"x-header", b"1"), (b"transfer-encoding", b"chunked")]


async def test_a_trailer_is_no_credential(settings):
    async with closed_application(settings) as (application, client), connect(client.base_url) as (reader, writer):
        _, key = await application.access.keys.create("maya", "phone", ["images:read"], None)
        writer.write(TICKET + CHUNKED + NO_BODY + b"Authorization: Bearer %b\r\n\r\n" % key.encode())
        status, body = await read_response(reader)
        assert (status, json.loads(body)["code"]) == (401, "credentials_required")
        writer.write(TICKET + b"Authorization: Bearer %b\r\n" % key.encode() + CHUNKED + NO_BODY + b"\r\n")
        assert (await read_response(reader))[0] == 201


ONE_REQUEST = {
    "GALLERY_PROXIES": "127.0.0.0/8",
    "GALLERY_RATE__ENABLED": "true",
    "GALLERY_RATE__STRANGER": "1 per 3600",
}
LIST = b"GET /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\n"


async def statuses(url: str | httpx.URL, header: bytes = b"") -> list[int]:
    """Of three requests from one address, each of which names another one in a trailer."""
    found = []
    async with connect(url) as (reader, writer):
        for number in range(3):
            writer.write(LIST + header + CHUNKED + NO_BODY + b"X-Forwarded-For: 203.0.113.%d\r\n\r\n" % number)
            found.append((await read_response(reader))[0])
    return found


async def test_a_trailer_does_not_set_the_client_address(environment):
    async with running_application(environment, **ONE_REQUEST) as (_, client):
        assert await statuses(client.base_url, b"X-Forwarded-For: 192.0.2.1\r\n") == [200, 429, 429]


async def test_nor_does_it_behind_the_load_balancer(environment, tmp_path):
    async with (
        running_application(environment, **ONE_REQUEST) as (_, client),
        balancer(["127.0.0.1"], client.base_url.port, tmp_path) as front,
    ):
        await front.wait_for_servers(1)
        assert await statuses(front.url) == [200, 429, 429]


@pytest.mark.parametrize("piece", [b"a:\r\n" * 4096, b"a: b\r\n" * 4096], ids=["empty", "short"])
async def test_trailers_without_end_are_refused(piece):
    app = RecordingApp()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + NO_BODY)
        assert await send_repeatedly(writer, piece, 20_000_000) < 2_000_000  # as much as fits into the kernel's buffers
        assert (await read_rest(reader)).startswith((b"HTTP/1.1 431 ", b""))
    assert app.headers == []


async def test_they_are_refused_with_a_problem(environment):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(UPLOAD + NO_BODY + b"a: %b\r\n\r\n" % (b"x" * MAX_TRAILER_BYTES))
        response = await read_rest(reader)
        assert response.startswith(b"HTTP/1.1 431 ")
        assert response.count(b"HTTP/1.1") == 1
        assert json.loads(response.partition(b"\r\n\r\n")[2])["code"] == "headers_too_large"


@pytest.mark.parametrize(
    "begin",
    [NO_BODY + b"a: ", NO_BODY + b"a", b"5;", b"5\r\nthree\r\n0\r\nb: "],
    ids=["value", "name", "chunk", "body"],
)
async def test_one_field_or_extension_without_end_is_refused(begin):
    async with serve_app(RecordingApp()) as url, connect(url) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + begin)
        assert await send_repeatedly(writer, b"x" * 16_384, 20_000_000) < 2_000_000
        await read_rest(reader)


async def test_a_body_in_the_smallest_chunks_is_accepted():
    app, content = RecordingApp(), bytes(range(256)) * 100
    async with serve_app(app) as url, connect(url) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\n" + CHUNKED)
        writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in content) + NO_BODY + b"\r\n")
        assert await read_response(reader) == (200, b"")
    assert app.bodies == [content]


# --- headers ------------------------------------------------------------------------------------------------------


async def test_many_small_headers_count_with_their_overhead():
    """In one piece: headers that arrive at once are counted too."""
    app = RecordingApp()
    async with serve_app(app) as url, connect(url) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * (MAX_HEADER_BYTES // 16) + b"\r\n")
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 431 ")
    assert app.headers == []


@pytest.mark.parametrize("line", [b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nHost x\r\n\r\n", b"\x16\x03\x01\r\n\r\n"])
async def test_a_request_that_is_not_http_gets_a_problem(environment, line):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(line)
        head, _, body = (await read_rest(reader)).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == "malformed_request"


@pytest.mark.parametrize("body", [b"\r\n", CHUNKED], ids=["behind it", "in its body"])
async def test_nonsense_is_not_answered_in_the_middle_of_another_answer(environment, body):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(b"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n" + body)
        await reader.readuntil(b"retry: 3000")
        writer.write(b"NONSENSE\r\n\r\n")
        assert b"HTTP/1.1" not in await read_rest(reader)


# --- the host -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n",
        b"Host: 127.0.0.1\r\nhost: evil.example\r\n",
        b"Host: 127.0.0.1, evil.example\r\n",
        b"Host: maya@127.0.0.1\r\n",
        b"Host: 127.0.0.1/x\r\n",
        b"Host: 127.0.0.1:x\r\n",
        b"Host: \xe4.example\r\n",
    ],
)
@pytest.mark.parametrize("open_to", ["true", "false"])
async def test_a_request_names_one_host(environment, lines, open_to):
    more = {"GALLERY_ACCESS__OPEN": open_to}
    async with running_application(environment, **more) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(b"GET /livez HTTP/1.1\r\n" + lines + b"\r\n")
        status, body = await read_response(reader)
        assert (status, json.loads(body)["code"]) == (400, "malformed_host")


@pytest.mark.parametrize(
    "host", [b"127.0.0.1", b"[::1]:3000", b"LOCALHOST:80", b"a-b.example:", b"x_y", b"%41.example"]
)
async def test_any_valid_host_is_accepted(environment, host):
    async with (
        running_application(environment, GALLERY_ACCESS__OPEN="true") as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        assert (await read_response(reader))[0] == 200


async def test_an_old_client_need_not_name_it(environment):
    async with (
        running_application(environment, GALLERY_ACCESS__OPEN="true") as (_, client),
        connect(client.base_url) as (reader, writer),
    ):
        writer.write(b"GET /livez HTTP/1.0\r\n\r\n")
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", [b"/health", b"/livez", b"/readyz"])
async def test_a_probe_of_an_old_load_balancer_is_answered(environment, path):
    """HAProxy's `option httpchk`, as it is by default."""
    async with running_application(environment) as (_, client):
        for method in (b"GET ", b"HEAD ", b"OPTIONS "):
            async with connect(client.base_url) as (reader, writer):
                writer.write(method + path + b" HTTP/1.0\r\n\r\n")
                assert (await read_rest(reader)).startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 204 "))


@pytest.mark.parametrize(
    "request_", [b"GET /api/v1/images HTTP/1.0\r\n\r\n", b"GET /livez HTTP/1.0\r\nHost: evil.example\r\n\r\n"]
)
async def test_nothing_else_is_answered_without_our_name(environment, request_):
    async with running_application(environment) as (_, client), connect(client.base_url) as (reader, writer):
        writer.write(request_)
        assert (await read_rest(reader)).startswith(b"HTTP/1.1 403 ")


# --- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [b"", FILE + photos.a_jpeg() + END], ids=["before the first part", "after the last"])
async def test_every_byte_of_a_body_counts(environment, whole):
    """Also bytes that belong to no part."""
    async with running_application(environment, GALLERY_UPLOAD__MAX_BYTES=str(len(photos.a_jpeg()))) as (
        gallery,
        client,
    ):
        async with connect(client.base_url) as (reader, writer):
            writer.write(UPLOAD + (chunk(whole) if whole else b""))
            reading = asyncio.create_task(read_response(reader, 30))
            while not reading.done():
                writer.write(chunk(bytes(16_384)))
                await writer.drain()
                await asyncio.sleep(0.001)
            status, body = await reading
            assert (status, json.loads(body)["code"]) == (413, "too_large")
        async with gallery.database.primary() as db:
            assert await db.fetchval("SELECT count(*) FROM image") == 0


async def test_a_stream_is_served_beside_slow_clients(settings, gallery):
    """A connection that is refused costs no other one anything."""
    async with serve_api(gallery) as url, httpx.AsyncClient(base_url=url) as client, listen(client) as maya:
        async with connect(url) as (reader, writer):
            writer.write(UPLOAD + NO_BODY)
            await send_repeatedly(writer, b"a:\r\n" * 4096, 2_000_000)
            await read_rest(reader)
        await client.post("/api/v1/images", files={"file": ("a.jpg", photos.a_jpeg())})
        await maya.next("image.uploaded")
