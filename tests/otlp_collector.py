"""A collector that takes traces as a real one does: OTLP over HTTP, in protobuf."""

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent


@dataclass
class Span:
    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, object]
    failed: bool
    events_and_status: str  # its events and what stands beside its status


@dataclass
class Collector:
    url: str = ""
    spans: list[Span] = field(default_factory=list)

    def receive(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                self.spans += [_read(service, sent) for sent in scope.spans]

    async def wait_for_span(self, name: str, seconds: float = 30, **facts: object) -> Span:
        """Waits for a span."""
        async with asyncio.timeout(seconds):
            while not (found := self.find_spans(name, **facts)):
                await asyncio.sleep(0.05)
        return found[0]

    def find_spans(self, name: str, **facts: object) -> list[Span]:
        return [s for s in self.spans if s.name == name and facts.items() <= s.attributes.items()]

    def ancestors(self, span: Span) -> list[str]:
        """The names of the spans that it belongs to, from the nearest to the root."""
        by_id = {s.id: s for s in self.spans}
        names = []
        while span.parent in by_id:
            span = by_id[span.parent]
            names.append(f"{span.service}: {span.name}")
        return names


@contextmanager
def run_collector() -> Iterator[Collector]:
    collector = Collector()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            collector.receive(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(service: str, sent: Sent) -> Span:
    facts = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in sent.attributes}
    kind = Sent.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_")
    ids = sent.trace_id.hex(), sent.span_id.hex(), sent.parent_span_id.hex()
    failed = sent.status.code == sent.status.STATUS_CODE_ERROR
    return Span(service, sent.name, kind, *ids, facts, failed, f"{sent.events}{sent.status.message}")
