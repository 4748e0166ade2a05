"""Clients that send a file in several requests through all faults, as tus and direct uploads, and count their bytes."""

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

import tus_requests as tus
from faults.load import Load
from gallery.uploads.model import SMALLEST_PART_BYTES
from http_clients import TLS_CONTEXT

PART_BYTES = SMALLEST_PART_BYTES
BLOCK_BYTES = 64 * 1024
SEND_BUFFER = [(socket.SOL_SOCKET, socket.SO_SNDBUF, BLOCK_BYTES)]  # or megabytes would be sent that never arrive
AGAIN = (409, 423, 500, 502, 503)  # to be tried again; of 409, see `_complete`


class Sender:
    """One client with one file. `send_by_tus` or `send_direct` repeats what fails, until the image is acknowledged.

    Once the client has sent `pause_at` bytes, it sets `paused` and waits for `go_on`. `chunk` is the largest number of
    bytes in one request. With `pauses` in seconds, the client gives up after the last one. `sent` counts the bytes of
    all requests, `refused` those of requests with an error as the answer: a client has sent them before it reads it.
    `lost_at_once` is the most that one broken connection cost.
    """

    def __init__(
        self,
        url: str,
        content: bytes,
        *,
        pause_at: int | None = None,
        chunk: int | None = None,
        pauses: Sequence[float] | None = None,
    ) -> None:
        self.url = url
        self.content = content
        self.key = str(uuid4())
        self.sent = self.refused = 0
        self.interruptions = self.lost_at_once = 0
        self._sent_to = 0  # by the request whose connection broke
        self.acknowledged = 0  # bytes from the file's beginning, by `Upload-Offset`
        self.paused, self.go_on = asyncio.Event(), asyncio.Event()
        self._pause_at = pause_at
        self._chunk = chunk or len(content)
        self._pauses = None if pauses is None else list(pauses)

    @property
    def sent_again(self) -> int:
        """Bytes that were lost with their connections."""
        return self.sent - self.refused - len(self.content)

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    async def send_by_tus(self) -> str:
        """Returns the image's id. Fails if an acknowledged byte is asked for again."""
        headers = {**tus.VERSION, "Upload-Length": str(len(self.content)), **tus.metadata(idempotencyKey=self.key)}
        created = await self._repeat("POST", tus.BASE, (201,), headers=headers)
        path = urlsplit(created.headers["Location"]).path
        while True:
            found = await self._repeat("HEAD", path, (200,), headers=tus.VERSION)
            answer: httpx.Response | None = found
            while answer is not None and answer.status_code in (200, 204):
                self._acknowledge(int(answer.headers["Upload-Offset"]))
                if "Gallery-Image" in answer.headers:
                    return answer.headers["Gallery-Image"]
                answer = await self._patch(path)
            await self._interrupted(answer)

    async def send_direct(self, *, reverse: bool = False) -> str:
        """Returns the image's id. Fails if a part is missing whose put was acknowledged."""
        upload = await self._repeat(
            "POST",
            f"{tus.BASE}/direct",
            (201,),
            json={"size": len(self.content), "sha256": self.sha256},
            headers={"Idempotency-Key": self.key},
        )
        parts = upload.json()["parts"]
        for part in reversed(parts) if reverse else parts:
            while (answer := await self._put(part)) is None or answer.status_code not in (200, 404):
                await self._interrupted(answer)
            if answer.status_code == 404:
                break  # another client has completed the upload
        return await self._complete(upload.json()["complete"])

    async def _complete(self, url: str) -> str:
        while True:
            answer = await self._repeat("POST", urlsplit(url).path, (200, 201, 202))
            if answer.status_code != 202:
                return str(answer.json()["id"])
            await asyncio.sleep(0.2)

    def _acknowledge(self, offset: int) -> None:
        assert offset >= self.acknowledged, "acknowledged bytes are asked for again"
        self.acknowledged = offset
        self._lose(self._sent_to - offset)
        self._sent_to = 0

    def _lose(self, count: int) -> None:
        self.lost_at_once = max(self.lost_at_once, count)

    async def _interrupted(self, answer: httpx.Response | None) -> None:
        assert answer is None or answer.status_code in AGAIN, answer.text
        self.interruptions += 1
        if self._pauses is None:
            await asyncio.sleep(random.uniform(0.1, 0.3))
        else:
            assert self._pauses, "the client has given up"
            await asyncio.sleep(self._pauses.pop(0))

    async def _patch(self, path: str) -> httpx.Response | None:
        begin = self.acknowledged
        end = min(begin + self._chunk, len(self.content))
        headers = {**tus.VERSION, **tus.CHUNK, "Upload-Offset": str(begin), "Content-Length": str(end - begin)}
        before = self.sent
        answer = await self._send("PATCH", path, headers, begin, end)
        if answer is None:
            self._sent_to = begin + self.sent - before
        return answer

    async def _put(self, part: dict[str, Any]) -> httpx.Response | None:
        begin, end = part["from"], part["to"]
        headers = {**part["headers"], "Content-Length": str(end - begin)}
        before = self.sent
        answer = await self._send(part["method"], part["url"], headers, begin, end)
        if answer is None:
            self._lose(self.sent - before)
        return answer

    async def _send(
        self, method: str, url: str, headers: dict[str, str], begin: int, end: int
    ) -> httpx.Response | None:
        before = self.sent
        answer = await self._try(method, url, headers=headers, content=self._blocks(begin, end))
        if answer is not None and answer.is_error:
            self.refused += self.sent - before
        return answer

    async def _blocks(self, begin: int, end: int) -> AsyncIterator[bytes]:
        for at in range(begin, end, BLOCK_BYTES):
            if self._pause_at is not None and self.sent >= self._pause_at:
                self._pause_at = None
                self.paused.set()
                await self.go_on.wait()
            block = self.content[at : min(at + BLOCK_BYTES, end)]
            yield block
            self.sent += len(block)

    async def _repeat(self, method: str, url: str, expected: tuple[int, ...], **more: Any) -> httpx.Response:
        while True:
            answer = await self._try(method, url, **more)
            if answer is not None and answer.status_code in expected:
                return answer
            assert answer is None or "parts_missing" not in answer.text, answer.text
            await self._interrupted(answer)

    async def _try(self, method: str, url: str, **more: Any) -> httpx.Response | None:
        """The answer; `None` if the connection failed."""
        transport = httpx.AsyncHTTPTransport(verify=TLS_CONTEXT, socket_options=SEND_BUFFER)
        try:
            async with httpx.AsyncClient(base_url=self.url, timeout=30, transport=transport) as client:
                return await client.request(method, url, **more)
        except httpx.HTTPError:
            return None


def padded(load: Load, size: int) -> bytes:
    """A photo of its own with `size` bytes: decoders ignore those after a JPEG's end."""
    photo = load.make_photo()
    return photo + bytes(size - len(photo))
