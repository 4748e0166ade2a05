"""Common steps of the tests: upload an image, wait until it is settled, read its events."""

import asyncio
import hashlib
import io
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse

import photos
from gallery.access.model import OPEN_MODE_CALLER, Caller
from gallery.images import object_rows
from gallery.images.model import Image, UploadedFile
from gallery.uploads.schema import parse_metadata
from gallery.wiring import Gallery
from http_clients import TLS_CONTEXT

AGE_PENDING_PUTS = """
    UPDATE object SET remove_after = remove_after - $1::interval, remove_again_at = remove_again_at - $1::interval
    WHERE remove_again_at IS NOT NULL
"""
NUMBERS = itertools.count(1)
CALLER = OPEN_MODE_CALLER


def unique_photo() -> bytes:
    """The same picture with other bytes each time: decoders ignore bytes after a JPEG's end."""
    return photos.a_jpeg() + next(NUMBERS).to_bytes(4, "big")


def make_photo(content: bytes | None = None, name: str = "lake.jpg") -> UploadedFile:
    content = unique_photo() if content is None else content
    return UploadedFile(io.BytesIO(content), name, len(content), hashlib.sha256(content).hexdigest())


async def upload_image(
    gallery: Gallery, content: bytes | None = None, *, caller: Caller = CALLER, **fields: str
) -> Image:
    """An image just uploaded: PENDING."""
    photo = make_photo(content)
    return (await gallery.new_images.add(caller, photo, parse_metadata(fields.items(), photo.name))).image


async def post(
    client: httpx.AsyncClient,
    content: bytes | None = None,
    name: str = "lake.jpg",
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> httpx.Response:
    file = {"file": (name, unique_photo() if content is None else content)}
    return await client.post("/api/v1/images", files=file, data=fields, headers=headers)


async def fetch_anonymously(url: str) -> httpx.Response:
    """The answer to a request without credentials to an absolute URL."""
    async with httpx.AsyncClient(timeout=20, verify=TLS_CONTEXT) as client:
        return await client.get(url)


async def wait_until_settled(client: httpx.AsyncClient, image: str, seconds: float = 30) -> dict[str, Any]:
    """The image when it is READY or FAILED."""
    async with asyncio.timeout(seconds):
        while True:
            found = (await client.get(f"/api/v1/images/{image}")).json()
            if found["status"] in ("READY", "FAILED"):
                return dict(found)
            await asyncio.sleep(0.05)


async def stored_keys(gallery: Gallery) -> set[str]:
    """All keys in the object store."""
    return {
        found.key
        for part in ("original", "renditions", "pictures", "tails")
        async for batch in gallery.objects.list(part)
        for found in batch
    }


async def expire_pending_puts(gallery: Gallery) -> None:
    """Age the released keys so that no put of them can still be running."""
    async with gallery.database.writing() as db:
        await db.execute(AGE_PENDING_PUTS, object_rows.MAX_PUT_DURATION)


@asynccontextmanager
async def listen(client: httpx.AsyncClient, **query: str) -> AsyncIterator["Listener"]:
    """Subscribes to the event stream; the block begins when the server has begun to answer."""
    headers = {"Last-Event-ID": query.pop("last_event_id")} if "last_event_id" in query else {}
    async with aconnect_sse(client, "GET", "/api/v1/notifications/stream", params=query, headers=headers) as source:
        source.response.raise_for_status()
        yield Listener(source.aiter_sse())


class Listener:
    def __init__(self, events: AsyncIterator[ServerSentEvent]) -> None:
        self._events = events
        self.events: list[ServerSentEvent] = []

    async def next(self, type: str | None = None, seconds: float = 30) -> ServerSentEvent:  # noqa: A002
        """The next event (of that type), without heartbeats."""
        async with asyncio.timeout(seconds):
            while True:
                event = await anext(self._events)
                if not event.data:
                    continue
                self.events.append(event)
                if type is None or event.event == type:
                    return event

    @property
    def types(self) -> list[str]:
        return [event.event for event in self.events]

    def data(self) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.events]
