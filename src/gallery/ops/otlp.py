"""Traces by OpenTelemetry's SDK, which sends them in batches from a thread of its own, by OTLP over HTTP.

Imported only where there is an endpoint, since the SDK costs time and memory; what makes spans calls `ops/tracing.py`.
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
from gallery.ops.tracing import UNTRACED, Kind, Span, Value

ROOTS = ("SERVER", "CONSUMER")  # what begins a trace, unless whoever asks has begun one
MOST_TEXT = 2000  # characters of a statement
LAST_WORDS = 5.0  # seconds for a collector that is away
TABLE = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|FROM)\s+([a-z_]+)")
HOUSEKEEPING = "SELECT pg_advisory_unlock_all()"  # how asyncpg tidies up a connection that is given back

W3C = TraceContextTextMapPropagator()


@contextmanager
def exporting(url: str, service: str) -> Iterator[None]:
    """Send traces to `url` as `service` while the block runs; its end waits a few seconds for spans not yet sent."""
    resource = Resource.create({SERVICE_NAME: service, SERVICE_VERSION: __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    try:
        with tracing.using(Traces(provider.get_tracer("gallery", __version__))):
            yield
    finally:
        ending = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        ending.start()
        ending.join(LAST_WORDS)


class Traces:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def span(
        self, name: str, kind: Kind, came_with: Mapping[str, str] | None, facts: Mapping[str, Value]
    ) -> AbstractContextManager[Span]:
        if kind not in ROOTS and not _traced():
            return UNTRACED
        return self._block(name, kind, came_with, {key.replace("__", "."): value for key, value in facts.items()})

    def context(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        W3C.inject(carrier)
        return carrier

    def statement(self, text: str, seconds: float, error: BaseException | None) -> None:
        if not _traced() or text.startswith(HOUSEKEEPING):
            return
        now = time.time_ns()
        facts = {"db.system.name": "postgresql", "db.query.text": text[:MOST_TEXT]}
        done = self._tracer.start_span(
            summary(text), None, SpanKind.CLIENT, facts, start_time=now - round(seconds * 1e9)
        )
        if error is not None:
            self.failed(done, type(error).__qualname__)
        done.end(now)

    def failed(self, span: Span, why: str) -> None:
        span.set_attribute("error.type", why)
        if isinstance(span, OtelSpan):
            span.set_status(StatusCode.ERROR)

    def ids(self) -> dict[str, str]:
        here = get_current_span().get_span_context()
        return {"trace_id": f"{here.trace_id:032x}", "span_id": f"{here.span_id:016x}"} if here.is_valid else {}

    @contextmanager
    def _block(
        self, name: str, kind: Kind, came_with: Mapping[str, str] | None, facts: Mapping[str, Value]
    ) -> Iterator[Span]:
        """Of what goes wrong only the kind is told: what an error says may be somebody's data."""
        before = W3C.extract(came_with) if came_with else None
        with self._tracer.start_as_current_span(
            name, before, SpanKind[kind], facts, record_exception=False, set_status_on_exception=False
        ) as block:
            try:
                yield block
            except BaseException as error:
                self.failed(block, type(error).__qualname__)
                raise


@lru_cache(maxsize=500)
def summary(text: str) -> str:
    """What a statement does and to which table, e.g. `UPDATE image`."""
    found: list[tuple[str, str]] = TABLE.findall(text)
    for verb, table in [pair for pair in found if pair[0] != "FROM"] or found:
        return f"{'SELECT' if verb == 'FROM' else verb.split()[0]} {table}"
    return text.split(maxsplit=1)[0].rstrip(";").upper()


def _traced() -> bool:
    here = get_current_span().get_span_context()
    return here.is_valid and here.trace_flags.sampled
