"""One trace from a request to its statements, its objects, the queue, and the worker that answers (OpenTelemetry).

Spans are made where something is asked from outside (a request, a job) and of what belongs to it; what runs by itself,
such as the feed or the sweep, is not traced. Without `OTEL_EXPORTER_OTLP_ENDPOINT` nothing of OpenTelemetry is imported
and `span` hands out the same empty block every time. What is not a setting of ours (headers, sampler, batches) the SDK
reads from its own variables: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol, TypeAlias

import structlog

SpanKindName: TypeAlias = Literal["SERVER", "CLIENT", "PRODUCER", "CONSUMER", "INTERNAL"]
AttributeValue: TypeAlias = str | int | float | bool


class Span(Protocol):
    """What a block may say of itself."""

    def set_attribute(self, key: str, value: AttributeValue) -> None: ...
    def update_name(self, name: str) -> None: ...


class NoOpSpan:
    """A block of no trace."""

    def set_attribute(self, key: str, value: AttributeValue) -> None: ...
    def update_name(self, name: str) -> None: ...


class Traces(Protocol):
    """What makes spans and sends them: see `ops/otlp.py`."""

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
    """Blocks are parts of these traces while this one runs."""
    global _traces  # noqa: PLW0603  one of a process, as OpenTelemetry's own
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
    """A block of a trace. `came_with` is the context (W3C) that a request or a job brought along.

    In the names of facts, `__` stands for a dot.
    """
    return NOOP_SPAN if _traces is None else _traces.span(name, kind, parent_context, attributes)


def current_context() -> dict[str, str]:
    """What a job takes along so that its worker goes on with the trace (W3C); empty where there is none."""
    return {} if _traces is None else _traces.current_context()


def mark_failed(span: Span, error_type: str) -> None:
    """Say that a block has failed, of which nobody has seen an error; `why` is one of few words."""
    if _traces is not None:
        _traces.mark_failed(span, error_type)


def record_statement(text: str, seconds: float, error: BaseException | None) -> None:
    """A statement that has just been answered. Its text is ours alone: values travel beside it."""
    if _traces is not None:
        _traces.record_statement(text, seconds, error)


def add_trace_ids(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A step of structlog: the trace that a line belongs to."""
    if _traces is not None:
        event.update(_traces.current_ids())
    return event
