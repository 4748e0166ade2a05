"""Compresses text with zstd, Brotli or gzip, as `Accept-Encoding` allows (RFC 9110, sections 8.4 and 12.5.3).

Only complete text responses are compressed: no picture, no stream, no response with `no-transform` or with a strong
ETag, which stands for exact bytes. So the JSON of one image is not compressed: its ETag is its version.

The last results are cached, up to some megabytes, under their uncompressed bytes. So a list from the cache costs one
look-up, and nothing has to be invalidated.
"""

import asyncio
import gzip
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable

import brotli
import zstandard
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

MIN_BYTES = 1024  # a smaller response takes one packet in any case
MIN_THREAD_BYTES = 128 * 1024  # compressed in a thread from this size on: about a millisecond in the slowest coding
MAX_CACHE_BYTES = 16 * 1024 * 1024  # plain and compressed bytes together
COMPRESSIBLE_TYPES = (b"application/json", b"application/problem+json", b"text/html", b"text/css", b"text/javascript")

# In the server's order of preference, cheapest first. A list of 50 images, 111 kB, in ms of CPU and kB: 0.06 and 8.9,
# 0.44 and 9.9, 0.57 and 12.7; the next better levels (3, 5, 6) took 0.09 and 9.6, 0.71 and 8.7, 0.81 and 10.6.
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda body: zstandard.ZstdCompressor(level=1).compress(body),
    "br": lambda body: brotli.compress(body, quality=4),
    "gzip": lambda body: gzip.compress(body, 4, mtime=0),
}
QUALITY_VALUE = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*")


class Compression:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._cache = CompressedCache(MAX_CACHE_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        response = _CompressedResponse(scope["headers"], self._cache, send)
        await self._app(scope, receive, response.send)


class _CompressedResponse:
    """Sends one response; delays the head until the first piece of the body, which decides the headers."""

    def __init__(self, request_headers: Iterable[tuple[bytes, bytes]], cache: "CompressedCache", send: Send) -> None:
        self._request_headers = request_headers
        self._cache = cache
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_compressible(message["status"], message["headers"]):
            self._start = message
            return
        if message["type"] == "http.response.body" and self._start is not None:
            start, self._start = self._start, None
            body = message.get("body", b"")
            if not message.get("more_body", False):
                message["body"] = await self._compress_body(start, body)
            await self._send(start)
        await self._send(message)

    async def _compress_body(self, start: Message, body: bytes) -> bytes:
        """The body to send, compressed or not; sets the headers of `start` accordingly."""
        assert start["type"] == "http.response.start"  # noqa: S101  for mypy; checked in `send`
        headers: Headers = list(start["headers"])
        if b"no-transform" in _cache_control(headers) or _has_strong_etag(headers):
            return body
        _add_vary(headers)
        coding = self._find_coding()
        if (
            coding is not None
            and len(body) >= MIN_BYTES
            and start["status"] != 206
            and not _header_values(headers, b"content-encoding")
        ):
            shorter = await self._compress(coding, body, no_store=b"no-store" in _cache_control(headers))
            if len(shorter) < len(body):
                body = shorter
                _set_header(headers, b"content-encoding", coding.encode())
                _set_header(headers, b"content-length", b"%d" % len(body))
        start["headers"] = headers
        return body

    def _find_coding(self) -> str | None:
        """The best coding that the client accepts."""
        accepted = b",".join(_header_values(self._request_headers, b"accept-encoding")).decode("latin-1")
        return next(iter(accepted_codings(accepted)), None)

    async def _compress(self, coding: str, body: bytes, *, no_store: bool) -> bytes:
        shorter = None if no_store else self._cache.find(coding, body)
        if shorter is None:
            compress = CODINGS[coding]
            shorter = await asyncio.to_thread(compress, body) if len(body) >= MIN_THREAD_BYTES else compress(body)
            if not no_store:
                self._cache.put(coding, body, shorter)
        return shorter


class CompressedCache:
    """The results used last, within a limit of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._results: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()

    def find(self, coding: str, body: bytes) -> bytes | None:
        result = self._results.get((coding, body))
        if result is not None:
            self._results.move_to_end((coding, body))
        return result

    def put(self, coding: str, body: bytes, result: bytes) -> None:
        size = len(body) + len(result)
        if size > self._max_bytes // 8 or (coding, body) in self._results:
            return
        self._results[coding, body] = result
        self._size += size
        while self._size > self._max_bytes:
            (_, oldest), evicted = self._results.popitem(last=False)
            self._size -= len(oldest) + len(evicted)


def accepted_codings(accept_encoding: str) -> list[str]:
    """The supported codings that a client prefers to plain bytes or accepts equally, the best first."""
    weights: dict[str, float] = {}
    for item in accept_encoding.lower().split(","):
        name, semicolon, parameter = item.partition(";")
        match = QUALITY_VALUE.fullmatch(parameter)
        weights[name.strip().removeprefix("x-")] = float(match[1]) if match else float(not semicolon)
    plain = weights.get("identity", 0)
    others = weights.get("*", 0)
    wanted = {coding: weights.get(coding, others) for coding in CODINGS}
    return sorted((c for c, w in wanted.items() if w > 0 and w >= plain), key=lambda c: -wanted[c])


def _cache_control(headers: Headers) -> bytes:
    return b",".join(_header_values(headers, b"cache-control"))


def _has_strong_etag(headers: Headers) -> bool:
    return any(not tag.startswith(b"W/") for tag in _header_values(headers, b"etag"))


def _is_compressible(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """A 304 has no Content-Type; `Accept-Ranges` tells a picture from text."""
    if status == 304:
        return not _header_values(headers, b"accept-ranges")
    return any(value.split(b";")[0] in COMPRESSIBLE_TYPES for value in _header_values(headers, b"content-type"))


def _add_vary(headers: Headers) -> None:
    already = b", ".join(_header_values(headers, b"vary"))
    if b"accept-encoding" not in already.lower():
        _set_header(headers, b"vary", b"%s, Accept-Encoding" % already if already else b"Accept-Encoding")


def _header_values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name.lower() == wanted]


def _set_header(headers: Headers, name: bytes, value: bytes) -> None:
    headers[:] = [*((n, v) for n, v in headers if n.lower() != name), (name, value)]
