"""Clients that upload and listen whatever happens, and remember what they were told."""

import asyncio
import hashlib
import json
import random
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
from httpx_sse import SSEError, aconnect_sse

import photos

TERMINAL = ("image.ready", "image.failed")


@dataclass
class Heard:
    """What one listener was told, over all its connections."""

    ids: list[int] = field(default_factory=list)
    events: list[tuple[str, str, int]] = field(default_factory=list)  # type, image, version
    resets: int = 0

    @property
    def last(self) -> str | None:
        return str(self.ids[-1]) if self.ids else None


class Load:
    """Uploads distinct photos at a rate. Each is sent again with its key until it is acknowledged."""

    def __init__(self, url: str, rate: float = 8) -> None:
        self._url = url
        self._rate = rate
        self._sending: set[asyncio.Task[None]] = set()
        self._seed = random.randrange(2**32)
        self.acknowledged: dict[str, str] = {}  # id → the SHA-256 that was sent
        self.answers: list[int] = []
        self.trouble = 0

    async def run(self, seconds: float) -> None:
        """Begin uploads for so long, and return when all of them are acknowledged."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            task = asyncio.create_task(self._upload())
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
            await asyncio.sleep(1 / self._rate)
        async with asyncio.timeout(60):
            await asyncio.gather(*self._sending)

    async def _upload(self) -> None:
        self._seed += 1
        content = photos.a_jpeg(320, 240, 1) + self._seed.to_bytes(8, "big")
        key = {"Idempotency-Key": str(uuid4())}
        while True:
            try:
                async with httpx.AsyncClient(base_url=self._url, timeout=15) as client:
                    answer = await client.post("/api/v1/images", files={"file": ("a.jpg", content)}, headers=key)
            except httpx.HTTPError:
                self.trouble += 1
                await asyncio.sleep(random.uniform(0.1, 0.5))
                continue
            self.answers.append(answer.status_code)
            if answer.status_code in (200, 201):
                image = answer.json()["id"]
                assert image not in self.acknowledged, "two uploads of different bytes are one image"
                self.acknowledged[image] = hashlib.sha256(content).hexdigest()
                return
            assert answer.status_code in (409, 503), answer.text
            self.trouble += 1
            await asyncio.sleep(random.uniform(0.1, 0.5))


async def listen(url: str, heard: Heard) -> None:
    """As a browser does: come back with the last id whenever the stream ends. Runs until it is cancelled."""
    while True:
        headers = {"Last-Event-ID": heard.last} if heard.last else {}
        with suppress(httpx.HTTPError, SSEError):
            async with (
                httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(15)) as client,
                aconnect_sse(client, "GET", "/api/v1/notifications/stream", headers=headers) as source,
            ):
                async for event in source.aiter_sse():
                    if event.event == "reset":
                        heard.resets += 1
                    if event.id and event.data:
                        data = json.loads(event.data)
                        heard.ids.append(int(event.id))
                        heard.events.append((event.event, data["imageId"], data["version"]))
        await asyncio.sleep(random.uniform(0.05, 0.3))
