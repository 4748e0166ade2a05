"""A collector that receives traces as a real one does: OTLP over HTTP, in protobuf."""

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
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage


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
    events_and_status: str  # its events and the message of its status


@dataclass
class Collector:
    url: str = ""
    spans: list[Span] = field(default_factory=list)

    def receive(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                self.spans += [_read(service, message) for message in scope.spans]

    async def wait_for_span(self, name: str, seconds: float = 30, **attributes: object) -> Span:
        """Wait for a span of this name with these attributes."""
        async with asyncio.timeout(seconds):
            while not (found := self.find_spans(name, **attributes)):
                await asyncio.sleep(0.05)
        return found[0]

    def find_spans(self, name: str, **attributes: object) -> list[Span]:
        return [s for s in self.spans if s.name == name and attributes.items() <= s.attributes.items()]

    def ancestors(self, span: Span) -> list[str]:
        """The names of its ancestors, from the parent to the root."""
        by_id = {s.id: s for s in self.spans}
        names = []
        while span.parent in by_id:
            span = by_id[span.parent]
            names.append(f"{span.service}: {span.name}")
        return names


@contextmanager
def run_collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(service: str, message: SpanMessage) -> Span:
    attributes = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in message.attributes}
    kind = SpanMessage.SpanKind.Name(message.kind).removeprefix("SPAN_KIND_")
    ids = message.trace_id.hex(), message.span_id.hex(), message.parent_span_id.hex()
    failed = message.status.code == message.status.STATUS_CODE_ERROR
    return Span(service, message.name, kind, *ids, attributes, failed, f"{message.events}{message.status.message}")
