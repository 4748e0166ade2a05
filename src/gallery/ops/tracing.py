"""Traces (OpenTelemetry): one from a request through its statements, objects and the queue to the worker's job.

Spans are made for requests and jobs, and for the calls inside them; background work such as the feed or the sweep is
not traced. Without `OTEL_EXPORTER_OTLP_ENDPOINT` OpenTelemetry is not imported and `span` always returns the same no-op
block. The SDK reads its other options (headers, sampler, batches) from its own variables:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol, TypeAlias

import structlog

SpanKindName: TypeAlias = Literal["SERVER", "CLIENT", "PRODUCER", "CONSUMER", "INTERNAL"]
AttributeValue: TypeAlias = str | int | float | bool


class Span(Protocol):
    """The calls that a block may make on its span."""

    def set_attribute(self, key: str, value: AttributeValue) -> None: ...
    def update_name(self, name: str) -> None: ...


class NoOpSpan:
    """The span of a block that is not traced."""

    def set_attribute(self, key: str, value: AttributeValue) -> None: ...
    def update_name(self, name: str) -> None: ...


class Traces(Protocol):
    """Makes spans and sends them: see `ops/otlp.py`."""

    def span(
        self,
        name: str,
        kind: SpanKindName,
        parent_context: Mapping[str, str] | None,
        attributes: Mapping[str, AttributeValue],
    ) -> AbstractContextManager[Span]: ...
    def current_context(self) -> dict[str, str]: ...
    def mark_failed(self, span: Span, error_type: str) -> None: ...
    def record_statement(self, text: str, seconds: float, error: BaseException | None) -> None: ...
    def current_ids(self) -> dict[str, str]: ...


NOOP_SPAN: AbstractContextManager[Span] = nullcontext(NoOpSpan())
_traces: Traces | None = None


@contextmanager
def using(traces: Traces) -> Iterator[None]:
    """Record spans in `traces` while the block runs."""
    global _traces  # noqa: PLW0603  one per process, as OpenTelemetry's own
    _traces = traces
    try:
        yield
    finally:
        _traces = None


def is_enabled() -> bool:
    return _traces is not None


def span(
    name: str,
    kind: SpanKindName = "INTERNAL",
    parent_context: Mapping[str, str] | None = None,
    **attributes: AttributeValue,
) -> AbstractContextManager[Span]:
    """A span around a block. `parent_context` is the W3C context that came with a request or a job.

    In the names of attributes, `__` stands for a dot.
    """
    return NOOP_SPAN if _traces is None else _traces.span(name, kind, parent_context, attributes)


def current_context() -> dict[str, str]:
    """The W3C context that a job carries to its worker, which continues the trace; empty without one."""
    return {} if _traces is None else _traces.current_context()


def mark_failed(span: Span, error_type: str) -> None:
    """Mark a span as failed without an exception; `error_type` is one of few values."""
    if _traces is not None:
        _traces.mark_failed(span, error_type)


def record_statement(text: str, seconds: float, error: BaseException | None) -> None:
    """Record a statement that has just been answered. Its text has no data: values travel beside it."""
    if _traces is not None:
        _traces.record_statement(text, seconds, error)


def current_ids() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, in hexadecimal digits; empty without one."""
    return {} if _traces is None else _traces.current_ids()


def add_trace_ids(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A structlog processor that adds the ids of the current trace and span."""
    event.update(current_ids())
    return event
