"""Sends calls with the caller's token, and again where that helps."""

import inspect
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

import httpx
import msgspec

from gallery_client.addresses import parse_url
from gallery_client.errors import GalleryError, error_of, not_understood
from gallery_client.transports import Call, Transport

T = TypeVar("T")
Token: TypeAlias = str | Callable[[], str] | None
AsyncToken: TypeAlias = Token | Callable[[], Awaitable[str]]
TOKEN = re.compile("[!-~]+")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0  # seconds; each pause is twice the one before
BUSY_SECONDS = 600.0  # that another request may take for what only one can do at a time (423)


class Api:
    """`retry_for`: for how many seconds after its first failure a call is tried again."""

    def __init__(self, url: str, token: AsyncToken, transport: Transport, retry_for: float) -> None:
        parse_url(url)
        self.url: str = url.rstrip("/")
        self.transport = transport
        self._token = token
        self._retry_for = retry_for

    async def call(self, call: Call) -> httpx.Response:
        """A successful answer. Raises `GalleryError`, once there is no use in trying again."""
        retries = self.retries()
        while True:
            try:
                return await self.attempt(call)
            except GalleryError as error:
                await retries.pause(error)

    async def attempt(self, call: Call) -> httpx.Response:
        """The same with one try."""
        response = await self.transport.send(self._url(call), call, await self._headers(call))
        if not response.is_success:
            raise error_of(response)
        return response

    @asynccontextmanager
    async def stream(self, call: Call) -> AsyncIterator[AsyncIterator[bytes]]:
        """The blocks of a successful answer. Raises `GalleryError`."""
        async with self.transport.stream(self._url(call), call, await self._headers(call)) as blocks:
            yield blocks

    def retries(self) -> "Retries":
        return Retries(self.transport, self._retry_for, new_tokens=callable(self._token))

    def _url(self, call: Call) -> str:
        return f"{self.url}/api/v1{call.path}"

    async def _headers(self, call: Call) -> dict[str, str]:
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        if token is None:
            return call.headers
        if not TOKEN.fullmatch(token):
            raise ValueError("the token is empty, or has characters that no token has, such as the end of a line")
        return call.headers | {"Authorization": f"Bearer {token}"}


class Retries:
    """The pauses between the tries of one call."""

    def __init__(self, transport: Transport, seconds: float, *, new_tokens: bool) -> None:
        self._transport = transport
        self._seconds = seconds
        self._new_tokens = new_tokens
        self.succeeded()

    def succeeded(self) -> None:
        """There was progress: patience begins anew."""
        self._failing_since: float | None = None
        self._tries = 0
        self._new_token = self._new_tokens

    async def pause(self, error: GalleryError) -> None:
        """Wait until it is time for the next try; raises `error` if there is none."""
        if error.code == "token_expired" and self._new_token:
            self._new_token = False
            return
        seconds = self._pause(error)
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        patience = BUSY_SECONDS if error.status == 423 else self._seconds
        if not error.temporary or now + seconds > self._failing_since + patience:
            raise error
        self._tries += 1
        await self._transport.sleep(seconds)

    def _pause(self, error: GalleryError) -> float:
        """In seconds; random, so that not all clients come back at once."""
        if error.retry_after is not None:
            return error.retry_after
        return float(min(FIRST_PAUSE * 2**self._tries, LONGEST_PAUSE)) * random.uniform(0.5, 1)  # noqa: S311  not a secret


def decode(response: httpx.Response, type_: type[T]) -> T:
    """Raises `GalleryError` for the answer of some other server."""
    try:
        return msgspec.json.decode(response.content, type=type_)
    except msgspec.DecodeError as error:
        raise not_understood(response, str(error)) from error
