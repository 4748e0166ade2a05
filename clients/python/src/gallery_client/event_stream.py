"""Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import re
from collections.abc import Iterator

import msgspec

from gallery_client.errors import GalleryError
from gallery_client.models import Event

LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # of a \r at the end, the \n may still come
BOM = b"\xef\xbb\xbf"


class EventStream:
    """The events of one stream after another. `last_event_id` is what the next one goes on after; `retry`, in seconds,
    the pause before it.
    """

    def __init__(self, last_event_id: str | None) -> None:
        self.last_event_id = last_event_id
        self.retry: float = 3.0
        self.begin()

    def begin(self) -> None:
        """A new connection: what was incomplete comes again."""
        self._rest = b""
        self._at_start = True
        self._id = self.last_event_id
        self._type = ""
        self._data: list[str] = []

    def feed(self, block: bytes) -> Iterator[Event]:
        """The events that end in this block."""
        self._rest += block
        if self._at_start and len(self._rest) >= len(BOM):
            self._rest = self._rest.removeprefix(BOM)
            self._at_start = False
        *lines, self._rest = LINE_END.split(self._rest)
        for line in lines:
            if line:
                self._field(*line.decode(errors="replace").partition(":"))
            elif (event := self._end()) is not None:
                yield event

    def _field(self, name: str, _: str, value: str) -> None:
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry = int(value) / 1000

    def _end(self) -> Event | None:
        """Only at its end an event counts, and so does its id."""
        self.last_event_id = self._id
        type_, data = self._type, "\n".join(self._data)
        self._type, self._data = "", []
        if not data:
            return None
        try:
            event = msgspec.json.decode(data, type=Event)
        except msgspec.DecodeError as error:
            raise GalleryError("answer_not_understood", f"An event is not one of Gallery's: {error}.") from error
        return msgspec.structs.replace(event, id=self._id or "", type=type_)
