"""A proxy before the S3 server that answers, or loses the answer to, one request."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


def error_answer(status: int, code: str) -> bytes:
    body = f"<Error><Code>{code}</Code></Error>"
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


@asynccontextmanager
async def proxy(url: str, pattern: bytes, answer: bytes | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy before the server. The first request of that pattern gets `answer` instead of being forwarded; without
    one it is forwarded and its answer is dropped. Yields its URL, and a list that will hold that request.
    """
    server = urlsplit(url)
    found: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, upstream = await asyncio.open_connection(server.hostname, server.port)
        drops = asyncio.Event()

        async def send() -> None:
            while data := await reader.read(65536):
                if not found and re.match(pattern, data, re.DOTALL):
                    found.append(data)
                    drops.set()
                    if answer is not None:
                        writer.write(answer)
                        await writer.drain()
                        return
                upstream.write(data)

        async def receive() -> None:
            while (data := await back.read(65536)) and not drops.is_set():
                writer.write(data)

        pumps = [asyncio.create_task(send()), asyncio.create_task(receive())]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        upstream.transport.abort()
        writer.close() if answer else writer.transport.abort()
        await asyncio.wait(pumps)
        for pump in pumps:
            pump.exception()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", found
    listener.close()
