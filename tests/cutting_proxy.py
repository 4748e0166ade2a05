"""A proxy that cuts connections in the middle of a request, as a phone does in a tunnel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx


@asynccontextmanager
async def cutting_proxy(url: httpx.URL | str, *cuts: int) -> AsyncIterator[str]:
    """A proxy before the server; yields its URL. One connection after the other is cut when it has sent so many bytes;
    those after the last cut are left alone.
    """
    server, left = httpx.URL(str(url)), list(cuts)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, upstream = await asyncio.open_connection(server.host, server.port)

        async def send() -> None:
            sent = 0
            while data := await reader.read(16384):
                sent += len(data)
                if left and sent >= left[0]:
                    left.pop(0)
                    return
                upstream.write(data)
                await upstream.drain()

        async def receive() -> None:
            while data := await back.read(65536):
                writer.write(data)
                await writer.drain()

        pumps = [asyncio.create_task(send()), asyncio.create_task(receive())]
        tasks.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        upstream.transport.abort()
        writer.transport.abort()
        await asyncio.wait(pumps)
        for pump in pumps:
            pump.exception()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        assert not left, "not all connections were cut"
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
