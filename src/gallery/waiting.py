"""Logs the wait for a server at startup: at once, and then every `LOG_INTERVAL_SECONDS`."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

log = structlog.get_logger(__name__)

LOG_INTERVAL_SECONDS = 10.0


class StartupWait:
    """Waits at most `seconds` for the server that `setting` names; `event` is the name of the log event."""

    def __init__(self, event: str, setting: str, seconds: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + seconds
        self._next_log_at = self._clock()
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        self._event = event
        self._facts = {"setting": setting, "until": until.isoformat(timespec="seconds")}

    @property
    def expired(self) -> bool:
        return self._clock() > self._deadline

    def log(self, error: str, **facts: object) -> None:
        """Logs that the server still does not answer, and why; at most once in each interval."""
        if self._clock() < self._next_log_at:
            return
        self._next_log_at = self._clock() + LOG_INTERVAL_SECONDS
        log.warning(self._event, **facts, **self._facts, error=error)
