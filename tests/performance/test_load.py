"""The load generator: it sends other bytes each time, reads every framing, and charges a stall to all that waited."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from bench.load import Operation, Target, UnexpectedAnswer, run_load

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LARGE_CHUNK = b"493E0\r\n" + bytes(300_000) + b"\r\n"
Answer = Callable[[bytes, bytes], Awaitable[bytes]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[Target]:
    """A server that answers each request, given as head and body, with these bytes; with `close` in them it closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            size = int(dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2]).get("Content-Length", 0))
            found = await answer(head, await reader.readexactly(size))
            writer.write(found)
            await writer.drain()
            if b"close" in found:
                break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as running:
        yield Target("server", running.sockets[0].getsockname()[1], {})


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return b""


async def test_each_upload_has_other_bytes_at_the_given_place() -> None:
    bodies = []

    async def keep(_: bytes, body: bytes) -> bytes:
        bodies.append(body)
        return OK

    upload = Operation("upload", ["/images"], connections=4, body=b"<" + b"0" * 16 + b">" * 200_000, digits_at=1)
    async with server(keep) as target:
        await run_load(target, upload, 40)
        await run_load(target, upload, 40)
    assert len({body[1:17] for body in bodies}) == 80
    assert {body[:1] + body[17:] for body in bodies} == {b"<" + b">" * 200_000}


async def test_paths_take_turns_and_headers_are_sent() -> None:
    heads = []

    async def keep(head: bytes, _: bytes) -> bytes:
        heads.append(head)
        return OK

    async with server(keep) as target:
        await run_load(target, Operation("get", ["/a", "/b"], {"Accept": "x/y"}, connections=3), 10)
    assert sorted(head.split()[1] for head in heads) == [b"/a"] * 5 + [b"/b"] * 5
    assert all(b"\r\nAccept: x/y\r\n" in head for head in heads)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%s0\r\n\r\n" % (2 * LARGE_CHUNK), 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n" + bytes(700_000), 200),
        (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200),
    ],
    ids=["chunked", "large chunks", "large", "no body", "closed after each"],
)
async def test_every_framing_is_read_to_its_end(answer: bytes, status: int) -> None:
    requests = []

    async def count(head: bytes, _: bytes) -> bytes:
        requests.append(head)
        return answer

    async with server(count) as target:
        await run_load(target, Operation("get", ["/"], status=status, connections=2), 30)
    assert len(requests) == 30


async def test_another_status_or_a_lost_connection_is_an_error() -> None:
    async def refuse(_: bytes, __: bytes) -> bytes:
        return b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"

    async def hang_up(_: bytes, __: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nX: close\r\nContent-Length: 9\r\n\r\n"

    for answer, fault in (refuse, "503"), (hang_up, "10 errors"):
        async with server(answer) as target:
            with pytest.raises(UnexpectedAnswer, match=fault):
                await run_load(target, Operation("get", ["/"], connections=2), 10)


async def test_an_open_loop_charges_a_stall_to_all_requests_that_were_due() -> None:
    """Half a second of silence delays, at 200 a second, a hundred requests; a closed loop sees one slow one."""
    requests = 0

    async def stall_once(_: bytes, __: bytes) -> bytes:
        nonlocal requests
        requests += 1
        if requests == 50:
            await asyncio.sleep(0.5)
        return OK

    async with server(stall_once) as target:
        closed = await run_load(target, Operation("get", ["/"], connections=1), 400)
        requests = 0
        opened = await run_load(target, Operation("get", ["/"], connections=1), 400, rate=200)
    assert closed.latency["max"] > 490
    assert closed.latency["p99"] < 250
    assert opened.latency["p99"] > 400
    assert opened.rate < 205
