"""How many streams one process holds open: in all, and for each caller."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from gallery.errors import StreamsFull, TooManyStreams
from gallery.ops import metrics
from gallery.ops.capacity import capacity
from gallery.settings import Notifications as Settings

MAX_PER_CALLER = 100


class StreamLimits:
    def __init__(self, settings: Settings, *, limited: bool, lifted: bool = False) -> None:
        """`limited`: callers are limited by default; `lifted`: they are not, whatever is set."""
        self._most = settings.max_streams or capacity().streams
        default = MAX_PER_CALLER if limited else None
        self._most_per_caller = None if lifted else settings.max_streams_per_caller or default
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, caller: str) -> Iterator[None]:
        """A stream of `caller`'s, open while the block runs. Raises `TooManyStreams`, `StreamsFull`."""
        self._check(caller)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    def _check(self, caller: str) -> None:
        if self._most_per_caller is not None and self._open[caller] >= self._most_per_caller:
            metrics.STREAMS_REFUSED.add("caller")
            raise TooManyStreams(caller=caller, limit=self._most_per_caller)
        if self._open.total() >= self._most:
            metrics.STREAMS_REFUSED.add("process")
            raise StreamsFull(limit=self._most)
