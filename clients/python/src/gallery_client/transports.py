"""Two ways to send the same calls: one blocks its thread, the other waits in asyncio.

All calls are written once, as coroutines over a `Transport`. Those of `BlockingTransport` never wait for an event loop,
so `run` can drive a call from its beginning to its end without one.
"""

import asyncio
import io
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import httpx

from gallery_client.addresses import connection_options
from gallery_client.errors import GalleryUnavailable, error_of, not_understood

T = TypeVar("T")
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
STREAM_TIMEOUT = httpx.Timeout(45.0, connect=10.0)  # a quiet stream has a heartbeat every ten seconds
Progress = Callable[[int, int], object]  # bytes that were sent, of how many


@dataclass(frozen=True)
class Form:
    """A form with one file, small enough for memory."""

    fields: Mapping[str, Any]
    name: str
    content: bytes
    on_progress: Progress | None


@dataclass(frozen=True)
class Call:
    """A request below /api/v1. `blocks` begins a body that is read while it is sent; `on_sent` gets how much was.

    `media_type` is that of a stream's answer, if there is only one that it can be.
    """

    method: str
    path: str
    params: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    form: Form | None = None
    blocks: Callable[[], Iterator[bytes]] | None = None
    on_sent: Callable[[int], object] | None = None
    media_type: str = ""


class Transport(Protocol):
    async def send(self, url: str, call: Call, headers: dict[str, str]) -> httpx.Response:
        """The whole answer, of any status. Raises `GalleryUnavailable`."""

    def stream(
        self, url: str, call: Call, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The blocks of an answer. Raises `GalleryError`, `GalleryUnavailable`."""

    async def sleep(self, seconds: float) -> None: ...

    async def work(self, function: Callable[[], T]) -> T:
        """Do what takes some time."""

    async def close(self) -> None: ...


class BlockingTransport:
    def __init__(self, url: str, client: httpx.Client | None) -> None:
        self._client = client or httpx.Client(**connection_options(url, TIMEOUT))
        self._own = client is None

    async def send(self, url: str, call: Call, headers: dict[str, str]) -> httpx.Response:
        blocks = None if call.blocks is None else _reported(call.blocks(), call.on_sent)
        request = self._client.build_request(**_arguments(url, call, headers, blocks))
        try:
            return self._client.send(request)
        except httpx.RequestError as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def stream(self, url: str, call: Call, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        request = self._client.build_request(**_arguments(url, call, headers, None), timeout=STREAM_TIMEOUT)
        try:
            response = self._client.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    raise error_of(response)
                _check_media_type(response, call)
                yield _iterate(response.iter_bytes())
            finally:
                response.close()
        except httpx.RequestError as error:
            raise _unavailable(error) from error

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  there is no event loop

    async def work(self, function: Callable[[], T]) -> T:
        return function()

    async def close(self) -> None:
        if self._own:
            self._client.close()


class AsyncTransport:
    def __init__(self, url: str, client: httpx.AsyncClient | None) -> None:
        self._client = client or httpx.AsyncClient(**connection_options(url, TIMEOUT))
        self._own = client is None

    async def send(self, url: str, call: Call, headers: dict[str, str]) -> httpx.Response:
        blocks = None if call.blocks is None else _in_threads(call.blocks(), call.on_sent)
        request = self._client.build_request(**_arguments(url, call, headers, blocks))
        try:
            return await self._client.send(request)
        except httpx.RequestError as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def stream(self, url: str, call: Call, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        request = self._client.build_request(**_arguments(url, call, headers, None), timeout=STREAM_TIMEOUT)
        try:
            response = await self._client.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    raise error_of(response)
                _check_media_type(response, call)
                yield response.aiter_bytes()
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise _unavailable(error) from error

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def work(self, function: Callable[[], T]) -> T:
        return await asyncio.to_thread(function)

    async def close(self) -> None:
        if self._own:
            await self._client.aclose()


def run(call: Awaitable[T]) -> T:
    """The result of a call over a `BlockingTransport`."""
    steps = call.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("Gallery's calls cannot wait for an event loop here: use AsyncGallery")


def iterate(items: AsyncGenerator[T]) -> Iterator[T]:
    """The items of calls over a `BlockingTransport`."""
    try:
        while True:
            try:
                item = run(anext(items))
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(items.aclose())


def _arguments(url: str, call: Call, headers: dict[str, str], blocks: object) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "method": call.method,
        "url": url,
        "params": call.params or None,
        "headers": headers,
        "content": call.content if blocks is None else blocks,
    }
    if call.form is not None:
        file = _Counted(call.form.content, call.form.on_progress)
        arguments |= {"data": call.form.fields, "files": {"file": (call.form.name, file)}}
    return arguments


class _Counted(io.BytesIO):
    """Tells how much of it was read."""

    def __init__(self, content: bytes, on_progress: Progress | None) -> None:
        super().__init__(content)
        self._size = len(content)
        self._on_progress = on_progress

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        if block and self._on_progress is not None:
            self._on_progress(self.tell(), self._size)
        return block


def _reported(blocks: Iterator[bytes], on_sent: Callable[[int], object] | None) -> Iterator[bytes]:
    sent = 0
    for block in blocks:
        yield block
        sent += len(block)
        if on_sent is not None:
            on_sent(sent)


async def _in_threads(blocks: Iterator[bytes], on_sent: Callable[[int], object] | None) -> AsyncIterator[bytes]:
    """The blocks are read in threads, and reported in the event loop."""
    sent = 0
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
        sent += len(block)
        if on_sent is not None:
            on_sent(sent)


async def _iterate(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


def _check_media_type(response: httpx.Response, call: Call) -> None:
    found = response.headers.get("Content-Type", "")
    if not found.lower().startswith(call.media_type):
        raise not_understood(response, f"{found or 'no type'} in place of {call.media_type}")


def _unavailable(error: httpx.RequestError) -> GalleryUnavailable:
    return GalleryUnavailable(f"Gallery cannot be reached: {str(error) or type(error).__name__}")
