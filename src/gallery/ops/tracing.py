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

Kind: TypeAlias = Literal["SERVER", "CLIENT", "PRODUCER", "CONSUMER", "INTERNAL"]
Value: TypeAlias = str | int | float | bool


class Span(Protocol):
    """What a block may say of itself."""

    def set_attribute(self, key: str, value: Value) -> None: ...
    def update_name(self, name: str) -> None: ...


class Untraced:
    """A block of no trace."""

    def set_attribute(self, key: str, value: Value) -> None: ...
    def update_name(self, name: str) -> None: ...


class Traces(Protocol):
    """What makes spans and sends them: see `ops/otlp.py`."""

    def span(
        self, name: str, kind: Kind, came_with: Mapping[str, str] | None, facts: Mapping[str, Value]
    ) -> AbstractContextManager[Span]: ...
    def context(self) -> dict[str, str]: ...
    def failed(self, span: Span, why: str) -> None: ...
    def statement(self, text: str, seconds: float, error: BaseException | None) -> None: ...
    def ids(self) -> dict[str, str]: ...


UNTRACED: AbstractContextManager[Span] = nullcontext(Untraced())
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


def on() -> bool:
    return _traces is not None


def span(
    name: str, kind: Kind = "INTERNAL", came_with: Mapping[str, str] | None = None, **facts: Value
) -> AbstractContextManager[Span]:
    """A block of a trace. `came_with` is the context (W3C) that a request or a job brought along.

    In the names of facts, `__` stands for a dot.
    """
    return UNTRACED if _traces is None else _traces.span(name, kind, came_with, facts)


def context() -> dict[str, str]:
    """What a job takes along so that its worker goes on with the trace (W3C); empty where there is none."""
    return {} if _traces is None else _traces.context()


def failed(span: Span, why: str) -> None:
    """Say that a block has failed, of which nobody has seen an error; `why` is one of few words."""
    if _traces is not None:
        _traces.failed(span, why)


def statement(text: str, seconds: float, error: BaseException | None) -> None:
    """A statement that has just been answered. Its text is ours alone: values travel beside it."""
    if _traces is not None:
        _traces.statement(text, seconds, error)


def add_ids(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A step of structlog: the trace that a line belongs to."""
    if _traces is not None:
        event.update(_traces.ids())
    return event
