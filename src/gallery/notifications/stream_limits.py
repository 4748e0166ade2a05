"""The limits of open streams: per process and per caller."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

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

    @contextmanager
    def slot(self, caller: str) -> Iterator[None]:
        """Hold one stream of `caller` while the block runs. Raises `TooManyStreams`, `StreamsFull`."""
        self._check(caller)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _check(self, caller: str) -> None:
        if self._max_per_caller is not None and self._open[caller] >= self._max_per_caller:
            metrics.STREAMS_REFUSED.add("caller")
            raise TooManyStreams(caller=caller, limit=self._max_per_caller)
        if self._open.total() >= self._max_streams:
            metrics.STREAMS_REFUSED.add("process")
            raise StreamsFull(limit=self._max_streams)
