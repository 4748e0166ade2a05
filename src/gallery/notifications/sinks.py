"""Blocks of events, and the two ways to a client: its connection's transport, or a server's `send`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from gallery.background import cancel_and_wait

Send: TypeAlias = Callable[[Any], Awaitable[None]]  # of ASGI


class Block(Struct, frozen=True):
    """Server-sent events, framed once for all clients that get the same ones.

    `chunk` is `text` as a chunk of a response: https://www.rfc-editor.org/rfc/rfc9112#section-7.1.
    """

    text: bytes
    chunk: bytes


def make_block(text: bytes) -> Block:
    return Block(text, b"%x\r\n%b\r\n" % (len(text), text))


class ClientTransport(Protocol):
    """The part of a connection's transport that a stream uses."""

    def write(self, data: bytes) -> None: ...

    def is_closing(self) -> bool: ...

    def get_write_buffer_size(self) -> int: ...


class Sink(Protocol):
    """Takes blocks for one client, in order, without a wait."""

    def write(self, block: Block) -> int:
        """Returns the number of bytes by which `waiting` grows at most."""

    @property
    def waiting(self) -> int:
        """The bytes that the operating system has not taken yet: 0 for a client that reads."""

    async def drain(self) -> None:
        """Wait until few bytes are waiting, or the client has disconnected."""

    async def close(self) -> None:
        """To be awaited when the response has ended."""


def open_sink(transport: ClientTransport | None, send: Send) -> Sink:
    """A sink for the body of a response whose head has been sent.

    Gallery's server gives the transport of a chunked response (`web/protocol.py`). HTTP/1.0, `HEAD` and other servers
    have none.
    """
    return BufferedSink(send) if transport is None else TransportSink(transport, send)


class TransportSink:
    def __init__(self, transport: ClientTransport, send: Send) -> None:
        self._transport = transport
        self._send = send

    def write(self, block: Block) -> int:
        if self._transport.is_closing():
            return 0
        self._transport.write(block.chunk)
        return len(block.chunk)

    @property
    def waiting(self) -> int:
        return self._transport.get_write_buffer_size()

    async def drain(self) -> None:
        await self._send(_body(b""))  # uvicorn waits for a full transport even if there is nothing to send

    async def close(self) -> None:
        pass


class BufferedSink:
    """Keeps blocks until `send` has taken them."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._texts: list[bytes] = []
        self._waiting = 0
        self._sending: asyncio.Task[None] | None = None

    def write(self, block: Block) -> int:
        self._texts.append(block.text)
        self._waiting += len(block.text)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())
        return len(block.text)

    @property
    def waiting(self) -> int:
        return self._waiting

    async def drain(self) -> None:
        if self._sending is not None:
            await self._sending

    async def close(self) -> None:
        if self._sending is not None:
            await cancel_and_wait(self._sending)

    async def _send_all(self) -> None:
        while self._texts:
            text = b"".join(self._texts)
            self._texts.clear()
            await self._send(_body(text))
            self._waiting -= len(text)


def _body(text: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": text, "more_body": True}
