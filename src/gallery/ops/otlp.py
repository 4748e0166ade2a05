"""Traces by OpenTelemetry's SDK, which sends them in batches from its own thread, by OTLP over HTTP.

Imported only for an endpoint, since the SDK costs time and memory; other modules make spans through `ops/tracing.py`.
"""

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gallery import __version__
from gallery.ops import tracing
from gallery.ops.tracing import NOOP_SPAN, AttributeValue, Span, SpanKindName

ROOT_KINDS = ("SERVER", "CONSUMER")  # spans that may begin a trace; others need a parent
MAX_STATEMENT_CHARS = 2000
SHUTDOWN_TIMEOUT_SECONDS = 5.0  # if the collector is unavailable
TABLE_PATTERN = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|FROM)\s+([a-z_]+)")

W3C = TraceContextTextMapPropagator()


@contextmanager
def exporting(url: str, service: str) -> Iterator[None]:
    """Send traces to `url` as `service` while the block runs; at its end waits a few seconds for unsent spans."""
    resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    try:
        with tracing.using(OtlpTraces(provider.get_tracer("gallery", __version__))):
            yield
    finally:
        ending = threading.Thread(target=provider.shutdown, name="trace shutdown", daemon=True)
        ending.start()
        ending.join(SHUTDOWN_TIMEOUT_SECONDS)


class OtlpTraces:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def span(
        self,
        name: str,
        kind: SpanKindName,
        parent_context: Mapping[str, str] | None,
        attributes: Mapping[str, AttributeValue],
    ) -> AbstractContextManager[Span]:
        if kind not in ROOT_KINDS and not _is_sampled():
            return NOOP_SPAN
        return self._start_span(
            name, kind, parent_context, {key.replace("__", "."): value for key, value in attributes.items()}
        )

    def current_context(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        W3C.inject(carrier)
        return carrier

    def record_statement(self, text: str, seconds: float, error: BaseException | None) -> None:
        if not _is_sampled():
            return
        now = time.time_ns()
        facts = {"db.system.name": "postgresql", "db.query.text": text[:MAX_STATEMENT_CHARS]}
        statement = self._tracer.start_span(
            statement_summary(text), None, SpanKind.CLIENT, facts, start_time=now - round(seconds * 1e9)
        )
        if error is not None:
            self.mark_failed(statement, type(error).__qualname__)
        statement.end(now)

    def mark_failed(self, span: Span, error_type: str) -> None:
        span.set_attribute("error.type", error_type)
        if isinstance(span, OtelSpan):
            span.set_status(StatusCode.ERROR)

    def current_ids(self) -> dict[str, str]:
        context = get_current_span().get_span_context()
        return (
            {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"} if context.is_valid else {}
        )

    @contextmanager
    def _start_span(
        self,
        name: str,
        kind: SpanKindName,
        parent_context: Mapping[str, str] | None,
        attributes: Mapping[str, AttributeValue],
    ) -> Iterator[Span]:
        """Records only the type of an error: its message may contain personal data."""
        parent = W3C.extract(parent_context) if parent_context else None
        with self._tracer.start_as_current_span(
            name, parent, SpanKind[kind], attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                self.mark_failed(span, type(error).__qualname__)
                raise


@lru_cache(maxsize=500)
def statement_summary(text: str) -> str:
    """The verb and the table of a statement, e.g. `UPDATE image`."""
    found: list[tuple[str, str]] = TABLE_PATTERN.findall(text)
    for verb, table in [pair for pair in found if pair[0] != "FROM"] or found:
        return f"{'SELECT' if verb == 'FROM' else verb.split()[0]} {table}"
    return text.split(maxsplit=1)[0].rstrip(";").upper()


def _is_sampled() -> bool:
    context = get_current_span().get_span_context()
    return context.is_valid and context.trace_flags.sampled
