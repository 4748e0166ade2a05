"""The limits of open streams: per process and per caller."""

from collections import Counter
from typing import NamedTuple

from gallery.errors import StreamsFull, TooManyStreams
from gallery.ops import metrics
from gallery.ops.capacity import capacity
from gallery.settings import NotificationsSettings

MAX_PER_CALLER = 100


class StreamLimits:
    def __init__(self, settings: NotificationsSettings, *, limited_by_default: bool, unlimited: bool = False) -> None:
        """`limited_by_default`: callers have a default limit; `unlimited`: they have none, even if one is set."""
        self._max_streams = settings.max_streams or capacity().streams
        default = MAX_PER_CALLER if limited_by_default else None
        self._max_per_caller = None if unlimited else settings.max_streams_per_caller or default
        self._open: Counter[str] = Counter()

    def slot(self, caller: str) -> "StreamSlot":
        return StreamSlot(self, caller)

    def take(self, caller: str) -> None:
        """Count one more stream of `caller`. Raises `TooManyStreams`, `StreamsFull`."""
        if self._max_per_caller is not None and self._open[caller] >= self._max_per_caller:
            metrics.STREAMS_REFUSED.add("caller")
            raise TooManyStreams(caller=caller, limit=self._max_per_caller)
        if self._open.total() >= self._max_streams:
            metrics.STREAMS_REFUSED.add("process")
            raise StreamsFull(limit=self._max_streams)
        self._open[caller] += 1

    def release(self, caller: str) -> None:
        self._open[caller] -= 1
        if not self._open[caller]:
            del self._open[caller]


class StreamSlot(NamedTuple):
    """A stream of a caller, counted from `take` until `release`."""

    limits: StreamLimits
    caller: str

    def take(self) -> None:
        """Raises `TooManyStreams`, `StreamsFull`."""
        self.limits.take(self.caller)

    def release(self) -> None:
        self.limits.release(self.caller)
