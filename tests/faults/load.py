"""Clients that upload and listen through all faults, and record the answers."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import msgspec

import photos
from http_clients import TLS_CONTEXT

TERMINAL_TYPES = ("image.ready", "image.failed")


@dataclass
class ReceivedEvents:
    """The events of one listener, over all its connections."""

    ids: list[int] = field(default_factory=list)
    events: list[tuple[str, str, int]] = field(default_factory=list)  # type, image, version
    resets: int = 0
    connections: int = 0
    cursor: str = ""  # also from heartbeats, as in a browser

    def images_with(self, types: Collection[str]) -> set[str]:
        """The images with an event of these types."""
        return {image for type_, image, _ in self.events if type_ in types}

    def describe_missing(self, expected: Collection[tuple[str, Collection[str]]]) -> str:
        """The images without an expected event, and the cursor; empty if none is missing."""
        missing = [image for image, types in expected if image not in self.images_with(types)]
        return f"{missing}; at {self.cursor} after {self.connections} connections" if missing else ""


class EventData(msgspec.Struct, rename="camel"):
    image_id: str
    version: int


JPEG_BEGIN = b"\xff\xd8"


class Load:
    """Uploads distinct photos at a rate. Each upload is repeated with its key until it is acknowledged."""

    def __init__(self, url: str, rate: float = 10, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._headers = headers
        self._rate = rate
        self._sending: list[asyncio.Task[None]] = []  # keeps done tasks too, so that a failure is raised in the end
        self._seed = random.randrange(2**32)
        self.acknowledged: dict[str, str] = {}  # id → the SHA-256 that was sent
        self.deleted: set[str] = set()  # ids whose delete was acknowledged
        self.failing: set[str] = set()  # ids of pictures that cannot be rendered
        self.abandoned_hashes: set[str] = set()  # SHA-256 of uploads without an answer: stored whole, or not at all
        self.retries = 0
        self._stopped = False

    async def run(self, seconds: float) -> None:
        """Start uploads for `seconds`, or until `stop`, and return when all of them are acknowledged."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end and not self._stopped:
            self.start()
            await asyncio.sleep(1 / self._rate)
        async with asyncio.timeout(90):
            await asyncio.gather(*self._sending)

    def start(self, count: int = 1) -> None:
        """Start `count` uploads at once."""
        self._sending.extend(asyncio.create_task(self._upload()) for _ in range(count))

    def pending(self) -> list[asyncio.Task[None]]:
        return [task for task in self._sending if not task.done()]

    def stop(self) -> None:
        self._stopped = True

    async def upload(self, content: bytes | None = None, **fields: str) -> str:
        """Upload until it is acknowledged, by a form or as a raw body; returns the image's id."""
        content = self.make_photo() if content is None else content
        headers = {"Idempotency-Key": str(uuid4())}
        raw = headers | {"Content-Type": "image/jpeg"}
        as_form = not content.startswith(JPEG_BEGIN) or random.choice([True, False])

        def send(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
            if not as_form:
                return client.post("/api/v1/images", content=content, params=fields, headers=raw)
            return client.post("/api/v1/images", files={"file": ("a.jpg", content)}, data=fields, headers=headers)

        answer = await self.retry_until(send, (200, 201), (409, 502, 503))
        image = str(answer.json()["id"])
        assert image not in self.acknowledged, "two uploads of different bytes are one image"
        self.acknowledged[image] = hashlib.sha256(content).hexdigest()
        return image

    async def delete(self, image: str) -> None:
        """Delete until it is acknowledged: 404 when the first answer was lost."""
        await self.retry_until(lambda client: client.delete(f"/api/v1/images/{image}"), (200, 404), (503,))
        self.deleted.add(image)

    async def edit(self, image: str, title: str) -> int:
        """The final status: 200, or 404 when the image was deleted."""
        answer = await self.retry_until(
            lambda client: client.patch(f"/api/v1/images/{image}", json={"title": title}), (200, 404), (503,)
        )
        return answer.status_code

    async def retry_until(
        self,
        send: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]],
        expected: tuple[int, ...],
        retryable: tuple[int, ...],
    ) -> httpx.Response:
        """Repeat the request until an expected answer, after `retryable` ones and failed connections."""
        while True:
            try:
                async with httpx.AsyncClient(
                    base_url=self.url, timeout=15, verify=TLS_CONTEXT, headers=self._headers
                ) as client:
                    answer = await send(client)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code in expected:
                return answer
            assert answer is None or answer.status_code in retryable, answer.text
            self.retries += 1
            await asyncio.sleep(random.uniform(0.1, 0.5))

    async def all_ready(self) -> bool:
        """Whether the newest two hundred images, one page of the API, are READY."""
        async with httpx.AsyncClient(base_url=self.url, timeout=15, verify=TLS_CONTEXT) as client:
            found = (await client.get("/api/v1/images?limit=200")).json()
        return all(image["status"] == "READY" for image in found)

    def make_photo(self) -> bytes:
        """The same picture in different bytes each time: decoders ignore bytes after a JPEG's end."""
        self._seed += 1
        return photos.a_jpeg(320, 240, 1) + self._seed.to_bytes(8, "big")

    async def _upload(self) -> None:
        await self.upload()


async def listen(url: str, received: ReceivedEvents, connection_seconds: Callable[[], float] | None = None) -> None:
    """Reconnect with the last id whenever the stream ends, as a browser does. Runs until it is cancelled.

    With `connection_seconds` it ends each connection itself after that time. Reads raw bytes: two hundred streams
    through a client library would use both cores.
    """
    while True:
        with suppress(OSError, EOFError, TimeoutError, ValueError):
            async with asyncio.timeout(connection_seconds() if connection_seconds else None):
                await _read_connection(url, received)
        await asyncio.sleep(random.uniform(0.05, 0.3))


async def _read_connection(url: str, received: ReceivedEvents) -> None:
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    try:
        last = f"Last-Event-ID: {received.cursor}\r\n" if received.cursor else ""
        writer.write(f"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
        async with asyncio.timeout(15):
            head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            return
        received.connections += 1
        waiting = b""
        while size := int(await _read_line(reader), 16):
            waiting += await reader.readexactly(size)
            await reader.readexactly(2)
            *blocks, waiting = waiting.split(b"\n\n")
            for block in blocks:
                _record(received, dict(line.partition(b": ")[::2] for line in block.split(b"\n")))
    finally:
        writer.transport.abort()


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(15):  # more than a heartbeat
        return await reader.readuntil(b"\r\n")


def _record(received: ReceivedEvents, fields: dict[bytes, bytes]) -> None:
    received.cursor = fields.get(b"id", received.cursor.encode()).decode()
    if fields.get(b"event") == b"reset":
        received.resets += 1
    elif b"data" in fields:
        data = msgspec.json.decode(fields[b"data"], type=EventData)
        received.ids.append(int(fields[b"id"]))
        received.events.append((fields[b"event"].decode(), data.image_id, data.version))
