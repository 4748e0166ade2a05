"""The notification stream: server-sent events over HTTP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from typing import Annotated, Any
from uuid import UUID

import structlog
from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from gallery.access.model import STREAM, Caller
from gallery.access.service import Access
from gallery.background import cancel_and_wait
from gallery.errors import InvalidField
from gallery.notifications.feed import Feed
from gallery.notifications.model import EVENT_TYPES, EventFilter
from gallery.settings import Settings
from gallery.validation import not_among_message

log = structlog.get_logger(__name__)

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # asks nginx not to hold events back
]


class EventStream(Response[None]):
    """Sends each block as it comes. Ends when the client disconnects; aborts when it does not read for long."""

    def __init__(
        self, blocks: AsyncGenerator[bytes, None], send_timeout: float, slot: AbstractContextManager[None]
    ) -> None:
        """`slot` is held while the stream is open; it raises before the stream begins when there is none."""
        super().__init__(None)
        self._blocks = blocks
        self._send_timeout = send_timeout
        self._slot = slot

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]  # no additions of Litestar's
        return self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._slot:
            _mark_streaming(scope)
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending, gone = asyncio.ensure_future(self._send(send)), asyncio.ensure_future(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await sending
        except TimeoutError:
            log.info("stream.slow_reader")
            abort = (scope.get("extensions") or {}).get("gallery.abort")
            if abort is not None:
                abort()  # type: ignore[operator]  # a function of Gallery's own server
        finally:
            await cancel_and_wait(sending, gone)
            await self._blocks.aclose()  # else an aborted generator would only end when it is collected

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        async for block in self._blocks:
            async with asyncio.timeout(self._send_timeout):
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@get(
    "/stream",
    opt=STREAM,
    operation_id="streamNotifications",
    summary="Follow all changes as server-sent events",
    media_type="text/event-stream",
    responses={200: ResponseSpec(str, description="Server-sent events", media_type="text/event-stream")},
)
async def stream(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    access: NamedDependency[Access],
    feed: NamedDependency[Feed],
    stream_slot: NamedDependency[AbstractContextManager[None]],
    settings: NamedDependency[Settings],
    types: Annotated[str | None, QueryParameter(description="Only events of these types, comma-separated")] = None,
    image: Annotated[str | None, QueryParameter(name="imageId", description="Only events of this image")] = None,
    after: Annotated[
        str | None,
        QueryParameter(name="lastEventId", description="Like the header `Last-Event-ID`, which takes precedence"),
    ] = None,
    ticket: Annotated[  # noqa: ARG001  the auth guard reads it; here it is documented
        str | None,
        QueryParameter(description="From `POST /notifications/ticket`, for clients that cannot send headers"),
    ] = None,
) -> EventStream:
    """A browser's `EventSource` cannot send headers: put a ticket into the URL, or use the session cookie.

    A ticket is valid for 300 seconds. An open stream goes on after that, but when the connection breaks later,
    `EventSource` reconnects with the old ticket, gets 401, and closes for good: `readyState` is `CLOSED`. Then get a
    new ticket and open a new `EventSource` with `lastEventId`. All events have names, such as `image.ready`: use
    `addEventListener`, since `onmessage` is never called. URLs in events are relative, unless `GALLERY_PUBLIC_URL` is
    set.
    """
    wanted = EventFilter(caller.owner, _types(types), _image(image))
    last_event_id = request.headers.get("last-event-id", after)
    blocks = feed.listen(wanted, last_event_id, until_expired=lambda: access.wait_until_expired(caller))
    return EventStream(blocks, settings.notifications.patience, stream_slot)


def router() -> Router:
    return Router("/api/v1/notifications", route_handlers=[stream], tags=["notifications"])


def _types(text: str | None) -> frozenset[str]:
    types = frozenset((text or "").split(",")) - {""}
    if unknown := types - set(EVENT_TYPES):
        raise InvalidField("/types", not_among_message(min(unknown), EVENT_TYPES))
    return types


def _image(text: str | None) -> str | None:
    try:
        return str(UUID(text)) if text else None
    except ValueError:
        raise InvalidField("/imageId", "is not the id of an image: expected a UUID") from None


def _mark_streaming(scope: Scope) -> None:
    """From here on the connection counts as a stream, and no longer as an active request."""
    mark = (scope.get("extensions") or {}).get("gallery.stream")
    if mark is not None:
        mark()  # type: ignore[operator]  # a function of Gallery's own server


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
