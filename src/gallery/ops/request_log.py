"""The log line of each request: the same JSON as structlog's, but encoded here and written together with others.

A line through structlog and `logging`, written by itself, costs nine times as much: decision 0112.
"""

import asyncio
import logging
import select
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote  # as structlog's JSON: control characters are escaped
from typing import TextIO

import structlog
from msgspec import Struct

from gallery.masking import masked
from gallery.ops import tracing

FLUSH_SECONDS = 0.05
MAX_CHARS = select.PIPE_BUF  # the most that a write to a pipe keeps together beside other processes; lines are ASCII
LEVEL_NAMES = {logging.DEBUG: "debug", logging.INFO: "info"}


class RequestFacts(Struct, frozen=True):
    """A request that has ended; `status` is `None` for a client that disconnected before the response."""

    request_id: str
    method: str
    path: str
    status: int | None
    milliseconds: float
    caller: str | None = None


class BatchingHandler(logging.StreamHandler[TextIO]):
    """Writes each record at once. Lines of `add_line` are written together: after 50 ms, before they are more than
    `MAX_CHARS`, before the next record, or at the end of the process. So all lines keep their order.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines = ""
        self._timer: asyncio.TimerHandle | None = None

    def add_line(self, line: str) -> None:
        """To be called in the event loop. `line` ends with a line break."""
        self.acquire()
        try:
            if len(self._lines) + len(line) > MAX_CHARS:
                self._write_lines()
            self._lines += line
        finally:
            self.release()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._write_in_time)

    def emit(self, record: logging.LogRecord) -> None:
        self._write_lines()
        super().emit(record)

    def flush(self) -> None:
        """Also called by `logging` at the end of the process."""
        self._write_lines()
        super().flush()

    def _write_in_time(self) -> None:
        self._timer = None
        self._write_lines()

    def _write_lines(self) -> None:
        self.acquire()
        try:
            lines, self._lines = self._lines, ""
            if lines:
                self.stream.write(lines)
                super().flush()
        except Exception:  # noqa: BLE001  reported as `logging` reports a record that it cannot write
            self.handleError(logging.makeLogRecord({"msg": "request"}))
        finally:
            self.release()


class RequestLog:
    """The lines as JSON, from `level` on; each begins with `facts`."""

    def __init__(self, handler: BatchingHandler, level: int, facts: Mapping[str, str]) -> None:
        self._handler = handler
        self._level = level
        self._first_fields = "".join(f"{quote(name)}: {quote(masked(value))}, " for name, value in facts.items())

    def write(self, level: int, request: RequestFacts) -> None:
        if level < self._level:
            return
        caller = f'"caller": {quote(masked(request.caller))}, ' if request.caller else ""
        trace = (
            "".join(f', "{name}": "{value}"' for name, value in ids.items()) if (ids := tracing.current_ids()) else ""
        )
        self._handler.add_line(
            f"{{{self._first_fields}{_target_fields(request.method, request.path)}"
            f'"status": {request.status or "null"}, "ms": {request.milliseconds}, "event": "request", {caller}'
            f'"request": {quote(masked(request.request_id))}, "level": "{LEVEL_NAMES[level]}", '
            f'"timestamp": "{_timestamp()}"{trace}}}\n'
        )


_request_log: RequestLog | None = None


def use(request_log: RequestLog | None) -> None:
    """Write the lines there from now on; `None`: through structlog, as all others, for text on a terminal."""
    global _request_log  # noqa: PLW0603  one per process, as structlog's own configuration
    _request_log = request_log


def write(level: int, request: RequestFacts) -> None:
    """Log a request at that level, DEBUG or INFO. To be called in the event loop."""
    if _request_log is not None:
        _request_log.write(level, request)
        return
    structlog.get_logger(__name__).log(
        level,
        "request",
        method=request.method,
        path=request.path,
        status=request.status,
        ms=request.milliseconds,
        request=request.request_id,
        **({"caller": request.caller} if request.caller else {}),
    )


@lru_cache(1000)
def _target_fields(method: str, path: str) -> str:
    return f'"method": {quote(masked(method))}, "path": {quote(masked(path))}, '


def _timestamp() -> str:
    """As structlog's `TimeStamper` writes it."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06}Z"


@lru_cache(1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")
