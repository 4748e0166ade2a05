"""A complete response, for the handlers that are called most."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

HEAD_SCOPE_KEY = "gallery.head"  # in the ASGI scope of a HEAD request; see `web.middleware`
INTERIM_KEY = "gallery.interim"  # in the scope's extensions: a function that sends a response of 1xx; not in HTTP/1.0
BODILESS = 304

SendInterim: TypeAlias = Callable[[int, str, Mapping[str, str]], None]  # status, reason, headers


class CompleteResponse:
    """One response as an ASGI application; Litestar's `Response` costs four times as much (decision 0121).

    `headers` need no `Content-Length`, except for a response to `HEAD`, whose body is not here.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self._status = status
        self._headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        if status != BODILESS and "Content-Length" not in headers:
            self._headers.append((b"content-length", b"%d" % len(body)))
        self._body = body

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
