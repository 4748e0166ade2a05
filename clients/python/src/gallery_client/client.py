"""The two clients: `Gallery` blocks, `AsyncGallery` has the same calls with `await`."""

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Self, Unpack

import httpx

from gallery_client.api import AsyncToken, Token
from gallery_client.calls import Calls
from gallery_client.models import (
    Changes,
    Event,
    Image,
    ImageFilter,
    PictureQuery,
    TicketRules,
    UploadFields,
    UploadTicket,
)
from gallery_client.sources import Photo
from gallery_client.transports import AsyncTransport, BlockingTransport, Progress, iterate, run

RETRY_FOR = 30.0  # seconds


class AsyncGallery(Calls):
    """A Gallery at `url`, for asyncio. `token`: an API key, a JWT, a function that brings one, or nothing.

    A call that fails is tried again for `retry_for` seconds. `http` is a client of your own, for proxies and
    certificates.
    """

    def __init__(
        self,
        url: str,
        token: AsyncToken = None,
        *,
        retry_for: float = RETRY_FOR,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(url, token, AsyncTransport(url, http), retry_for)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Gallery:
    """A Gallery at `url`. `token`: an API key, a JWT, a function that brings one, or nothing.

    A call that fails is tried again for `retry_for` seconds. `http` is a client of your own, for proxies and
    certificates.
    """

    def __init__(
        self, url: str, token: Token = None, *, retry_for: float = RETRY_FOR, http: httpx.Client | None = None
    ) -> None:
        self._calls = Calls(url, token, BlockingTransport(url, http), retry_for)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address of Gallery, without a slash at its end."""
        return self._calls.url

    def close(self) -> None:
        run(self._calls.close())

    def upload(
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
        return run(self._calls.upload(photo, on_progress=on_progress, idempotency_key=idempotency_key, **fields))

    def wait(self, image: Image | str, timeout: float = 60.0) -> Image:
        """The image once it is READY.

        Raises `GalleryTimeout` after so many seconds, `GalleryError` with the image's own code if it is FAILED.
        """
        return run(self._calls.wait(image, timeout))

    def images(self, **wanted: Unpack[ImageFilter]) -> Iterator[Image]:
        """All images of this filter, newest first if `sort` says nothing else. Raises `GalleryError`."""
        return iterate(self._calls.images(**wanted))

    def get(self, image: Image | str) -> Image:
        """Raises `GalleryError`: `image_not_found`, for example."""
        return run(self._calls.get(image))

    def download(self, image: Image | str, path: str | PathLike[str]) -> Image:
        """Fetch the original to a file, which appears once it is whole and has the image's SHA-256.

        Returns the image. Raises `GalleryError`, `OSError`.
        """
        return run(self._calls.download(image, path))

    def edit(self, image: Image | str, *, if_version: int | None = None, **changes: Unpack[Changes]) -> Image:
        """The changed image. With `if_version`, only if that is still its version (else `version_mismatch`)."""
        return run(self._calls.edit(image, if_version=if_version, **changes))

    def delete(self, image: Image | str) -> Image:
        """The deleted image. Raises `GalleryError`: `image_not_found` if it is gone already."""
        return run(self._calls.delete(image))

    def events(
        self, *, types: Iterable[str] = (), image: Image | str | None = None, last_event_id: str | None = None
    ) -> Iterator[Event]:
        """The changes of all images, or of one, from now on or after that event; for ever, each event once, in order.

        Goes on by itself after breaks; raises `GalleryError` when that fails for as long as calls are tried again.
        """
        return iterate(self._calls.events(types=types, image=image, last_event_id=last_event_id))

    def check(self, sha256s: Iterable[str]) -> dict[str, str]:
        """Which of these files are here: the id of the image by the file's SHA-256 (hex). Raises `GalleryError`."""
        return run(self._calls.check(sha256s))

    def upload_ticket(self, **rules: Unpack[TicketRules]) -> UploadTicket:
        """A ticket by which a browser uploads for you, within these rules. Raises `GalleryError`."""
        return run(self._calls.upload_ticket(**rules))

    def picture_url(self, image: Image | str, **query: Unpack[PictureQuery]) -> str:
        """The URL of a picture on demand, for clients that may see the image. Raises `ValueError`."""
        return self._calls.picture_url(image, **query)

    def srcset(self, image: Image, format: str | None = None) -> str:  # noqa: A002  the field's word
        """The `srcset` of an `<img>`, with absolute URLs: in this format, or the first that the image has."""
        return self._calls.srcset(image, format)

    def absolute(self, url: str) -> str:
        """A URL of an image, such as `image.original`, with the address of Gallery if it has none."""
        return self._calls.absolute(url)

    def sign(
        self, image: Image | str, *, key: str, expires_at: int | None = None, **query: Unpack[PictureQuery]
    ) -> str:
        """The URL of a picture that every client may see; `gallery_client.sign` says more. Raises `ValueError`."""
        return self._calls.sign(image, key=key, expires_at=expires_at, **query)
