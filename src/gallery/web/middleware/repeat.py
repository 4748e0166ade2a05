"""Sends kept responses again, with the headers, measurements and log line of the new request.

Most requests are answered in the server's protocol (`web/repeating_protocol.py`), without a task and ASGI; the others,
such as those that have waited for the first one's response, by the middleware `ResponseCache`.
"""

import time
from typing import Any, NamedTuple

from litestar.types import HTTPScope, Send

from gallery.ops import metrics, tracing
from gallery.ops.request_log import RequestFacts
from gallery.web.kept_responses import Headers, KeptResponse, KeptResponses
from gallery.web.middleware.proxies import Proxies
from gallery.web.middleware.requests import RequestRecord, measure_and_log, request_id_from, trace_headers
from gallery.web.request_key import RequestKey
from gallery.web.request_limits import RequestLimits, counted_address
from gallery.web.routing import ROUTE_KEY, extensions, set_logged_caller

MAX_KNOWN_BYTES = 8 * 1024 * 1024
COPIES = 2  # of the bytes of a known request: whole, and as the headers of its key
KNOWN_OVERHEAD_BYTES = 2_000  # of a known request, for the objects of its key
TARGET_PREFIX = b"/api/v1/images"  # of all routes whose handlers declare a subject


class ParsedRequest(NamedTuple):
    key: RequestKey
    method: str
    address: str  # of the client, as limits count it


class KnownRequests:
    """Requests that were answered from memory, by their bytes; all are forgotten when they take too much memory."""

    def __init__(self, max_bytes: int = MAX_KNOWN_BYTES) -> None:
        self._max_bytes = max_bytes
        self._requests: dict[tuple[str, bytes], ParsedRequest] = {}
        self.size = 0  # bytes

    def find(self, peer: str, data: bytes) -> ParsedRequest | None:
        """`peer` is the `Repeater.peer_key` of the connection."""
        return self._requests.get((peer, data))

    def add(self, peer: str, data: bytes, request: ParsedRequest) -> None:
        self.size += len(data) * COPIES + KNOWN_OVERHEAD_BYTES
        if self.size > self._max_bytes:
            self._requests.clear()
            self.size = 0
        else:
            self._requests[peer, data] = request


class Repeater:
    def __init__(self, responses: KeptResponses, proxies: Proxies, limits: RequestLimits | None = None) -> None:
        self._responses = responses
        self._proxies = proxies
        self._limits = limits
        self.known_requests = KnownRequests()

    def peer_key(self, address: str) -> str:
        """The address of a connection's other end, if the same bytes can mean another request from another one."""
        return address if self._proxies.any or self._limits is not None else ""

    def parse(self, scope: Any, target: bytes) -> ParsedRequest | None:
        """A request that may have a kept response. `target` is the path with the query, as the client has sent it."""
        if scope["method"] not in ("GET", "HEAD") or not target.startswith(TARGET_PREFIX):
            return None
        client, scheme = self._proxies.resolve(scope)
        key = RequestKey.of(target, scheme, scope["http_version"], scope["headers"])
        return ParsedRequest(key, scope["method"], counted_address(client))

    def respond(self, request: ParsedRequest, server_headers: Headers) -> tuple[bytes, bytes] | None:
        """Head and body of the response; `None` if the application has to answer. It counts then, too."""
        started_at = time.perf_counter()
        entry = self._responses.find(request.key, time.monotonic())
        if entry is None or entry.head is None or tracing.is_enabled():
            return None
        limit_headers: Headers = ()
        if self._limits is not None and entry.counter is not None:
            count = self._limits.try_count(entry.counter, request.address)
            if count is None:
                return None
            limit_headers = count.headers
        request_id = request_id_from(request.key.request_id)
        headers = (*server_headers, *_own_headers(entry, request_id), *limit_headers)
        own_headers = [b"%b: %b\r\n" % header for header in headers]
        head = b"".join([entry.head, *own_headers, b"\r\n"])
        metrics.CACHE.add(entry.kind, "memory")
        seconds = time.perf_counter() - started_at
        facts = RequestFacts(
            request_id=request_id.decode(),
            method=request.method,
            path=entry.path,
            status=entry.status,
            milliseconds=round(seconds * 1000, 1),
            caller=entry.caller,
        )
        measure_and_log(entry.route, facts, seconds)
        return head, b"" if request.method == "HEAD" else entry.body


async def repeat(
    entry: KeptResponse, request: RequestKey, limit_headers: Headers, scope: HTTPScope, send: Send
) -> None:
    """Send a kept response through ASGI."""
    request_id = request_id_from(request.request_id)
    extensions(scope)[ROUTE_KEY] = entry.route
    scope["path"] = entry.path
    if entry.caller is not None:
        set_logged_caller(scope, entry.caller)
    record = RequestRecord(scope, request_id.decode())
    headers = [*entry.headers, *_own_headers(entry, request_id), *limit_headers]
    metrics.CACHE.add(entry.kind, "memory")
    with tracing.span(record.method, "SERVER", trace_headers(scope)) as span:
        try:
            record.start(entry.status, headers)
            await send({"type": "http.response.start", "status": entry.status, "headers": headers})
            body = b"" if scope["method"] == "HEAD" else entry.body
            await send({"type": "http.response.body", "body": body, "more_body": False})
        finally:
            record.finish(span)


def _own_headers(entry: KeptResponse, request_id: bytes) -> Headers:
    """The headers that each response has for itself."""
    headers = [(b"x-request-id", request_id)]
    if entry.link_expires_at is not None:
        headers.append((b"cache-control", b"private, max-age=%d" % max(0, int(entry.link_expires_at - time.time()))))
    return headers
