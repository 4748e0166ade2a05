"""Logs: one line per event, with its facts as fields; JSON, or text on a terminal. All go to stderr."""

import logging
import sys
from typing import Any

import structlog

from gallery.masking import masked_all
from gallery.ops import request_log, tracing
from gallery.settings import LogsSettings

MULTILINE_FIELDS = ("event", "exception", "stack")
QUIET_LOGGERS = ("uvicorn.access", "uvicorn.error", "httpx", "httpcore", "alembic", "asyncio", "botocore", "urllib3")


def configure(settings: LogsSettings, **facts: str) -> None:
    """Send all lines, Gallery's and the libraries', through one renderer; each gets `facts` as fields."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_facts(facts),
        tracing.add_trace_ids,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(_level(settings)),
        cache_logger_on_first_use=True,
    )
    handler = request_log.BatchingHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(settings)],
        )
    )
    logging.basicConfig(handlers=[handler], level=_level(settings), force=True)
    request_log.use(None if _is_text(settings) else request_log.RequestLog(handler, _level(settings), facts))
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderer(settings: LogsSettings) -> list[Any]:
    if _is_text(settings):
        console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        return [structlog.processors.format_exc_info, _masked, _printable, console]
    return [structlog.processors.format_exc_info, _masked, structlog.processors.JSONRenderer()]


def _is_text(settings: LogsSettings) -> bool:
    return settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())


def _masked(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Every line passes here, Gallery's and the libraries', with its stack."""
    return {name: masked_all(value) for name, value in event.items()}


def _printable(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A client's path or name may contain control characters for the terminal; JSON escapes them by itself."""
    return {
        name: _escape_lines(str(value)) if name in MULTILINE_FIELDS else _escape(value) for name, value in event.items()
    }


def _escape_lines(text: str) -> str:
    """For the fields that have line breaks of their own, such as stacks."""
    return "\n".join(str(_escape(line)) for line in text.split("\n"))


def _escape(value: Any) -> Any:
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in value)


def _add_facts(facts: dict[str, str]) -> Any:
    def add(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**facts, **event}

    return add


def _level(settings: LogsSettings) -> int:
    return logging.getLevelNamesMapping()[settings.level.upper()]
