"""Blocks of events, and the two ways to a client: its connection's transport, or a server's `send`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from msgspec import Struct

SendBody: TypeAlias = Callable[[bytes], Awaitable[None]]


class Block(Struct, frozen=True):
    """Server-sent events, framed once for all clients that get the same ones.

    `chunk` is `text` as a chunk of a response: https://www.rfc-editor.org/rfc/rfc9112#section-7.1.
    """

    text: bytes
    chunk: bytes


def make_block(text: bytes) -> Block:
    return Block(text, b"%x\r\n%b\r\n" % (len(text), text))


class Sink(Protocol):
    """Takes blocks for one client, in order, without a wait."""

    def write(self, block: Block) -> int:
        """Returns the number of bytes by which `waiting` grows at most."""

    @property
    def waiting(self) -> int:
        """The bytes that the operating system has not taken yet: 0 for a client that reads."""

    async def drain(self) -> None:
        """Wait until few bytes are waiting, or the client has disconnected."""


class TransportSink:
    """Writes to the transport of a chunked response whose head has been sent.

    `send` is the server's: it waits for a full transport even if it has nothing to send.
    """

    def __init__(self, transport: asyncio.Transport, send: SendBody) -> None:
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
        await self._send(b"")


class BufferedSink:
    """Keeps blocks until `send` has taken them, for a server or a request without a transport: HTTP/1.0, `HEAD`."""

    def __init__(self, send: SendBody) -> None:
        self._send = send
        self._texts: list[bytes] = []
        self._waiting = 0
        self.sending: asyncio.Task[None] | None = None  # to be cancelled when the response ends

    def write(self, block: Block) -> int:
        self._texts.append(block.text)
        self._waiting += len(block.text)
        if self.sending is None or self.sending.done():
            self.sending = asyncio.create_task(self._send_all())
        return len(block.text)

    @property
    def waiting(self) -> int:
        return self._waiting

    async def drain(self) -> None:
        if self.sending is not None:
            await self.sending

    async def _send_all(self) -> None:
        while self._texts:
            text = b"".join(self._texts)
            self._texts.clear()
            await self._send(text)
            self._waiting -= len(text)
