"""All calls of Gallery, written once, as coroutines: `AsyncGallery` has them as they are, `Gallery` runs them."""

import re
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import parse_qsl, quote, urljoin, urlsplit
from uuid import uuid4

import httpx
import msgspec

from gallery_client import pictures, uploads
from gallery_client.api import Api, AsyncToken, decode
from gallery_client.downloads import download
from gallery_client.errors import GalleryError, GalleryTimeout
from gallery_client.event_stream import EventStream
from gallery_client.models import (
    Changes,
    Event,
    Image,
    ImageFilter,
    PictureQuery,
    TicketRules,
    UploadFields,
    UploadTicket,
    focus_of,
)
from gallery_client.sources import Photo, open_source
from gallery_client.transports import Call, Progress, Transport

JSON = {"Content-Type": "application/json"}
EVENTS = "text/event-stream"
CHECKED_AT_ONCE = 5000
FIRST_LOOK, LONGEST_LOOK = 0.1, 2.0  # seconds between two looks at an image that is not ready


class Calls:
    def __init__(self, url: str, token: AsyncToken, transport: Transport, retry_for: float) -> None:
        self._api = Api(url, token, transport, retry_for)

    @property
    def url(self) -> str:
        """The address of Gallery, without a slash at its end."""
        return self._api.url

    async def upload(
        self,
        photo: Photo,
        *,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[UploadFields],
    ) -> Image:
        """Upload a file by its path, its bytes, or open; the image is still PENDING, or it was there (`duplicate`).

        From 8 MB on the file goes in parts, and goes on after a break from what had arrived. `on_progress` gets the
        bytes that were sent and their number; after a break, fewer than before. With the same `idempotency_key` the
        upload may be repeated for a day, by another process too. Raises `GalleryError`, `OSError` of the file.
        """
        with ExitStack() as stack:
            source = await self._api.transport.work(lambda: stack.enter_context(open_source(photo)))
            return await uploads.upload(self._api, source, fields, idempotency_key or str(uuid4()), on_progress)

    async def wait(self, image: Image | str, timeout: float = 60.0) -> Image:  # noqa: ASYNC109  the same without asyncio
        """The image once it is READY; by asking again and again, which goes through every proxy and costs little.

        Raises `GalleryTimeout` after so many seconds, `GalleryError` with the image's own code if it is FAILED.
        """
        deadline = time.monotonic() + timeout
        pause = FIRST_LOOK
        while True:
            found = await self.get(image)
            if found.status == "READY":
                return found
            if found.error is not None:
                raise GalleryError(found.error.code, found.error.message)
            if time.monotonic() + pause > deadline:
                raise GalleryTimeout("not_ready_in_time", f"The image is {found.status} after {timeout:g} seconds.")
            await self._api.transport.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)

    async def images(self, **wanted: Unpack[ImageFilter]) -> AsyncGenerator[Image]:
        """All images of this filter, newest first if `sort` says nothing else. Raises `GalleryError`."""
        params: list[tuple[str, str]] | None = _filter_params(wanted)
        while params is not None:
            page = await self._api.call(Call("GET", "/images", params=params))
            for image in decode(page, list[Image]):
                yield image
            params = _next_page(page)

    async def get(self, image: Image | str) -> Image:
        """Raises `GalleryError`: `image_not_found`, for example."""
        return decode(await self._api.call(Call("GET", _path(image))), Image)

    async def download(self, image: Image | str, path: str | PathLike[str]) -> Image:
        """Fetch the original to a file, which appears once it is whole and has the image's SHA-256.

        Returns the image. Raises `GalleryError`, `OSError`.
        """
        found = await self.get(image) if isinstance(image, str) else image
        await download(self._api, found, Path(path))
        return found

    async def edit(self, image: Image | str, *, if_version: int | None = None, **changes: Unpack[Changes]) -> Image:
        """The changed image. With `if_version`, only if that is still its version (else `version_mismatch`)."""
        body: dict[str, Any] = dict(changes)
        if body.get("focus") is not None:
            body["focus"] = focus_of(body["focus"])
        headers = JSON if if_version is None else JSON | {"If-Match": f'"{if_version}"'}
        call = Call("PATCH", _path(image), headers=headers, content=msgspec.json.encode(body))
        return decode(await self._api.call(call), Image)

    async def delete(self, image: Image | str) -> Image:
        """The deleted image. Raises `GalleryError`: `image_not_found` if it is gone already."""
        return decode(await self._api.call(Call("DELETE", _path(image))), Image)

    async def events(
        self, *, types: Iterable[str] = (), image: Image | str | None = None, last_event_id: str | None = None
    ) -> AsyncGenerator[Event]:
        """The changes of all images, or of one, from now on or after that event; for ever, each event once, in order.

        Goes on by itself after breaks; raises `GalleryError` when that fails for as long as calls are tried again.
        """
        stream = EventStream(last_event_id)
        retries = self._api.retries()
        params = [("types", ",".join(types))] if types else []
        if image is not None:
            params.append(("imageId", _id(image)))
        while True:
            stream.begin()
            headers = {} if stream.last_event_id is None else {"Last-Event-ID": stream.last_event_id}
            try:
                async with self._api.stream(
                    Call("GET", "/notifications/stream", params, headers, media_type=EVENTS)
                ) as blocks:
                    async for block in blocks:
                        retries.succeeded()
                        for event in stream.feed(block):
                            yield event
            except GalleryError as error:
                await retries.pause(error)
            else:
                await self._api.transport.sleep(stream.retry)

    async def check(self, sha256s: Iterable[str]) -> dict[str, str]:
        """Which of these files are here: the id of the image by the file's SHA-256 (hex). Raises `GalleryError`."""
        asked = list(dict.fromkeys(sha256s))
        found: dict[str, str] = {}
        for start in range(0, len(asked), CHECKED_AT_ONCE):
            body = [{"id": sha256, "sha256": sha256} for sha256 in asked[start : start + CHECKED_AT_ONCE]]
            call = Call("POST", "/images/check", headers=JSON, content=msgspec.json.encode(body))
            answer = decode(await self._api.call(call), list[dict[str, str]])
            found |= {file["id"]: file["image"] for file in answer if "image" in file}
        return found

    async def upload_ticket(self, **rules: Unpack[TicketRules]) -> UploadTicket:
        """A ticket by which a browser uploads for you, within these rules. Raises `GalleryError`."""
        body = {_camel(name): value for name, value in rules.items()}
        call = Call("POST", "/uploads/ticket", headers=JSON, content=msgspec.json.encode(body))
        return decode(await self._api.call(call), UploadTicket)

    def picture_url(self, image: Image | str, **query: Unpack[PictureQuery]) -> str:
        """The URL of a picture on demand, for clients that may see the image. Raises `ValueError`."""
        return self._api.url + pictures.picture_path(image, query)

    def srcset(self, image: Image, format: str | None = None) -> str:  # noqa: A002  the field's word
        """The `srcset` of an `<img>`, with absolute URLs: in this format, or the first that the image has."""
        text = image.srcset.get(format, "") if format else next(iter(image.srcset.values()), "")
        shown = (candidate.partition(" ") for candidate in text.split(", ") if candidate)
        return ", ".join(f"{self.absolute(url)} {width}" for url, _, width in shown)

    def absolute(self, url: str) -> str:
        """A URL of an image, such as `image.original`, with the address of Gallery if it has none."""
        return urljoin(self._api.url + "/", url)

    def sign(
        self, image: Image | str, *, key: str, expires_at: int | None = None, **query: Unpack[PictureQuery]
    ) -> str:
        """The URL of a picture that every client may see; `gallery_client.sign` says more. Raises `ValueError`."""
        return pictures.sign(url=self._api.url, key=key, image=image, query=query, expires_at=expires_at)

    async def close(self) -> None:
        await self._api.transport.close()


def _id(image: Image | str) -> str:
    return image if isinstance(image, str) else image.id


def _path(image: Image | str) -> str:
    return f"/images/{quote(_id(image), safe='')}"


def _filter_params(wanted: ImageFilter) -> list[tuple[str, str]]:
    params = [(name, str(wanted[name])) for name in ("search", "sort", "limit") if wanted.get(name) is not None]
    params += [("tag", tag) for tag in wanted.get("tags", ())]
    if status := wanted.get("status"):
        params.append(("status", status if isinstance(status, str) else ",".join(status)))
    if wanted.get("signed"):
        params.append(("signed", "true"))
    return params


def _next_page(page: httpx.Response) -> list[tuple[str, str]] | None:
    """Only the link's query: the token goes to no other address than the caller's."""
    link = page.links.get("next")
    return None if link is None else parse_qsl(urlsplit(link["url"]).query, keep_blank_values=True)


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), name)
