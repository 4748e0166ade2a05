"""HTTP byte by byte over a plain socket, for requests that no client library would send."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx

from gallery.cli.sockets import listen
from gallery.settings import ServeSettings
from gallery.web.server import Server


@asynccontextmanager
async def connect(url: str | httpx.URL) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    target = httpx.URL(str(url))
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def read_rest(reader: asyncio.StreamReader, seconds: float = 10) -> bytes:
    """The server's bytes until it closes the connection."""
    async with asyncio.timeout(seconds):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def read_response(reader: asyncio.StreamReader, seconds: float = 10) -> tuple[int, bytes]:
    """The status and the body of one answer with a `Content-Length`; the connection may go on."""
    async with asyncio.timeout(seconds):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
        return int(head.split()[1]), await reader.readexactly(length)


@asynccontextmanager
async def serve_app(app: Any, **settings: Any) -> AsyncIterator[str]:
    """Gallery's HTTP server with the test's application; yields its URL."""
    async with run_server(app, **settings) as (url, _):
        yield url


@asynccontextmanager
async def run_server(app: Any, **settings: Any) -> AsyncIterator[tuple[str, Server]]:
    running = Server(app, ServeSettings(**settings), before_stop=lambda: None)
    with listen("127.0.0.1", 0) as sock:
        task = asyncio.create_task(running.serve(sockets=[sock]))
        while not running.started:
            await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}", running
        finally:  # a server that outlives its test would keep a number that the next socket gets
            running.stop()
            await task
