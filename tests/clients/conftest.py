"""Each test of the client runs with both: `AsyncGallery`, and `Gallery` in threads."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import photos
from clients_proxy import Proxy, proxy_to
from gallery_client import AsyncGallery, Gallery

END = object()


class InThreads:
    """A `Gallery` with the calls of an `AsyncGallery`."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._gallery, name)
        if name in {"images", "events"}:
            return lambda *args, **kwargs: self._iterate(method(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)

    async def _iterate(self, items: Iterator[Any]) -> AsyncIterator[Any]:
        while (item := await asyncio.to_thread(next, items, END)) is not END:
            yield item


@pytest.fixture(params=["Gallery", "AsyncGallery"])
def connect(request) -> Callable[..., Any]:
    """`async with connect(url, …) as kit`."""

    @asynccontextmanager
    async def connect(url: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if request.param == "AsyncGallery":
            async with AsyncGallery(url, *args, **kwargs) as kit:
                yield kit
        else:
            with Gallery(url, *args, **kwargs) as kit:
                yield InThreads(kit)

    return connect


@pytest.fixture
async def kit(stack, connect) -> AsyncIterator[Any]:
    """The client of a Gallery with a worker."""
    async with connect(stack.url) as kit:
        yield kit


@pytest.fixture
async def proxy(stack) -> AsyncIterator[Proxy]:
    async with proxy_to(stack.url) as proxy:
        yield proxy


@pytest.fixture
async def far_kit(proxy, connect) -> AsyncIterator[Any]:
    """The same through a proxy."""
    async with connect(proxy.url) as kit:
        yield kit


@pytest.fixture
def photo() -> bytes:
    """A photo that has not been uploaded before."""
    return photos.a_jpeg(640, 480, comment=secrets.token_hex(8).encode())


@pytest.fixture
def large_photo(photo) -> bytes:
    """9 MB; decoders ignore bytes after a JPEG's end."""
    return photo + bytes(9_000_000 - len(photo))
