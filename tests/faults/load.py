"""Clients that upload and listen whatever happens, and remember what they were told."""

import asyncio
import hashlib
import random
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import msgspec

import photos

TERMINAL_TYPES = ("image.ready", "image.failed")
TLS_CONTEXT = ssl.create_default_context()  # made once: a client makes one for itself else, and it is never used here


@dataclass
class ReceivedEvents:
    """What one listener was told, over all its connections."""

    ids: list[int] = field(default_factory=list)
    events: list[tuple[str, str, int]] = field(default_factory=list)  # type, image, version
    resets: int = 0
    connections: int = 0
    cursor: str = ""  # a heartbeat's too, as in a browser

    def images_with(self, types: Collection[str]) -> set[str]:
        """The images of which it has heard such an event."""
        return {image for type_, image, _ in self.events if type_ in types}

    def describe_missing(self, expected: Collection[tuple[str, Collection[str]]]) -> str:
        """Which of the images it has not heard of as expected, and where it stands; nothing when all is well."""
        missing = [image for image, types in expected if image not in self.images_with(types)]
        return f"{missing}; at {self.cursor} after {self.connections} connections" if missing else ""


class EventData(msgspec.Struct, rename="camel"):
    image_id: str
    version: int


class Load:
    """Uploads distinct photos at a rate. Each is sent again with its key until it is acknowledged."""

    def __init__(self, url: str, rate: float = 10, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._headers = headers
        self._rate = rate
        self._sending: list[asyncio.Task[None]] = []  # all of them: one that failed is not to be forgotten
        self._seed = random.randrange(2**32)
        self.acknowledged: dict[str, str] = {}  # id → the SHA-256 that was sent
        self.deleted: set[str] = set()  # ids whose delete was acknowledged
        self.failing: set[str] = set()  # ids of pictures that cannot be rendered
        self.abandoned_hashes: set[str] = (
            set()
        )  # SHA-256 of what was sent and never acknowledged: there whole, or not at all
        self.retries = 0
        self._stopped = False

    async def run(self, seconds: float) -> None:
        """Begin uploads for so long, or until `stop`, and return when all of them are acknowledged."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end and not self._stopped:
            self.start()
            await asyncio.sleep(1 / self._rate)
        async with asyncio.timeout(90):
            await asyncio.gather(*self._sending)

    def start(self, count: int = 1) -> None:
        """So many uploads at once."""
        self._sending.extend(asyncio.create_task(self._upload()) for _ in range(count))

    def pending(self) -> list[asyncio.Task[None]]:
        return [task for task in self._sending if not task.done()]

    def stop(self) -> None:
        self._stopped = True

    async def upload(self, content: bytes | None = None, **fields: str) -> str:
        """Until it is acknowledged; the image's id."""
        content = self.make_photo() if content is None else content
        headers = {"Idempotency-Key": str(uuid4())}

        def send(client: httpx.AsyncClient) -> Awaitable[httpx.Response]:
            return client.post("/api/v1/images", files={"file": ("a.jpg", content)}, data=fields, headers=headers)

        answer = await self.retry_until(send, (200, 201), (409, 502, 503))
        image = str(answer.json()["id"])
        assert image not in self.acknowledged, "two uploads of different bytes are one image"
        self.acknowledged[image] = hashlib.sha256(content).hexdigest()
        return image

    async def delete(self, image: str) -> None:
        """Until it is gone: a repeated delete is answered 404, when the first one's answer was lost."""
        await self.retry_until(lambda client: client.delete(f"/api/v1/images/{image}"), (200, 404), (503,))
        self.deleted.add(image)

    async def edit(self, image: str, title: str) -> int:
        """The status in the end: 200, or 404 when it was deleted."""
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
        """Again and again, as long as the answer is one that passes, or none comes."""
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
        """Of those that the API lists: the newest two hundred."""
        async with httpx.AsyncClient(base_url=self.url, timeout=15, verify=TLS_CONTEXT) as client:
            found = (await client.get("/api/v1/images?limit=200")).json()
        return all(image["status"] == "READY" for image in found)

    def make_photo(self) -> bytes:
        """The same picture in other bytes each time: what follows a JPEG's end is not looked at."""
        self._seed += 1
        return photos.a_jpeg(320, 240, 1) + self._seed.to_bytes(8, "big")

    async def _upload(self) -> None:
        await self.upload()


async def listen(url: str, received: ReceivedEvents, connection_seconds: Callable[[], float] | None = None) -> None:
    """As a browser does: come back with the last id whenever the stream ends. Runs until it is cancelled.

    One that `leaves` ends each connection by itself after so many seconds. Spoken by hand: two hundred of them, heard
    through a client library, would take both cores.
    """
    while True:
        with suppress(OSError, EOFError, TimeoutError, ValueError):
            async with asyncio.timeout(connection_seconds() if connection_seconds else None):
                await _read_connection(url, received)
        await asyncio.sleep(random.uniform(0.05, 0.3))


async def _read_connection(url: str, heard: ReceivedEvents) -> None:
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    try:
        last = f"Last-Event-ID: {heard.cursor}\r\n" if heard.cursor else ""
        writer.write(f"GET /api/v1/notifications/stream HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
        async with asyncio.timeout(15):
            head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.splitlines()[0]:
            return
        heard.connections += 1
        waiting = b""
        while size := int(await _read_line(reader), 16):
            waiting += await reader.readexactly(size)
            await reader.readexactly(2)
            *blocks, waiting = waiting.split(b"\n\n")
            for block in blocks:
                _record(heard, dict(line.partition(b": ")[::2] for line in block.split(b"\n")))
    finally:
        writer.transport.abort()


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(15):  # more than a heartbeat
        return await reader.readuntil(b"\r\n")


def _record(heard: ReceivedEvents, fields: dict[bytes, bytes]) -> None:
    heard.cursor = fields.get(b"id", heard.cursor.encode()).decode()
    if fields.get(b"event") == b"reset":
        heard.resets += 1
    elif b"data" in fields:
        told = msgspec.json.decode(fields[b"data"], type=EventData)
        heard.ids.append(int(fields[b"id"]))
        heard.events.append((fields[b"event"].decode(), told.image_id, told.version))
