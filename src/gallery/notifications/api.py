"""The notification stream: server-sent events over HTTP."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromQuery, QueryParameter
from litestar.response import Response
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Struct

from gallery.access.model import STREAM, Caller
from gallery.errors import InvalidField
from gallery.notifications.event_stream import Connection, Follow, StreamBody
from gallery.notifications.feed import Feed
from gallery.notifications.model import EVENT_TYPES, EventFilter, Reset
from gallery.notifications.openapi import StreamOperation
from gallery.notifications.stream_limits import StreamSlot
from gallery.settings import NotificationsSettings, Settings
from gallery.validation import not_among_message

STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # asks nginx not to hold events back
]


class EventStream(Response[None]):
    """Sends the head; Gallery's server runs the rest when the request has left all layers (`web/long_responses.py`)."""

    def __init__(self, feed: Feed, follow: Follow, settings: NotificationsSettings, slot: StreamSlot) -> None:
        """`slot` is held while the stream is open; it raises before the stream begins when there is none."""
        super().__init__(None)
        self._feed = feed
        self._follow = follow
        self._settings = settings
        self._slot = slot

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIApp:  # type: ignore[override]  # no additions of Litestar's
        return self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._slot.take()
        try:
            _mark_streaming(scope)
            await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
        except BaseException:
            self._slot.release()
            raise
        rest = StreamBody(self._feed, self._follow, self._settings, self._slot, _connection(scope))
        if rest.connection.transport is None:
            await rest(receive, send)
        else:
            scope["extensions"]["gallery.rest"] = rest  # type: ignore[index,assignment]  # Gallery's own


async def stream(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    feed: NamedDependency[Feed],
    stream_slot: NamedDependency[StreamSlot],
    settings: NamedDependency[Settings],
    types: FromQuery[str | None] = None,
    image: Annotated[str | None, QueryParameter(name="imageId")] = None,
    after: Annotated[str | None, QueryParameter(name="lastEventId")] = None,
) -> EventStream:
    """A browser's `EventSource` cannot send headers: put a ticket into the URL, or use the session cookie.

    A ticket is valid for 300 seconds. An open stream goes on after that, but when the connection breaks later,
    `EventSource` reconnects with the old ticket, gets 401, and closes for good: `readyState` is `CLOSED`. Then get a
    new ticket and open a new `EventSource` with `lastEventId`. All events have names, such as `image.ready`: use
    `addEventListener`, since `onmessage` is never called. URLs in events are relative, unless `GALLERY_PUBLIC_URL` is
    set.
    """
    event_filter = EventFilter(caller.owner, _types(types), _image(image), caller.only_images)
    follow = Follow(event_filter, caller, request.headers.get("last-event-id", after))
    return EventStream(feed, follow, settings.notifications, stream_slot)


def router(image_event: type[Struct]) -> Router:
    """`image_event` is the type of the JSON in the events of images, for the OpenAPI document."""
    data: Any = image_event | Reset
    body = ResponseSpec(
        data,
        description="Server-sent events; this is the JSON in the `data` of each",
        media_type="text/event-stream",
        generate_examples=False,
    )
    handler = get(
        "/stream",
        opt=STREAM,
        operation_class=StreamOperation,
        operation_id="streamEvents",
        summary="Follow all changes as server-sent events",
        media_type="text/event-stream",
        responses={200: body},
    )
    return Router("/api/v1/notifications", route_handlers=[handler(stream)], tags=["notifications"])


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
    if (mark := _extension(scope, "gallery.stream")) is not None:
        mark()


def _connection(scope: Scope) -> Connection:
    return Connection(_extension(scope, "gallery.transport"), _extension(scope, "gallery.abort"))


def _extension(scope: Scope, name: str) -> Any:
    """What Gallery's own server or a middleware has put into the scope; `None` without them."""
    return (scope.get("extensions") or {}).get(name)
