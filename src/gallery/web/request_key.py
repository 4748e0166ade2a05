"""What a response may depend on, so that requests with the same key can get the same response."""

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from litestar.types import HTTPScope

IGNORED_HEADERS = frozenset(
    name.encode()
    for name in (
        # answered for each request by itself
        *("if-none-match", "x-request-id", "traceparent", "tracestate"),
        # resolved into the scope by `ProxyHeaders` before, or about the connection
        *("forwarded", "x-forwarded-for", "x-forwarded-proto", "connection", "keep-alive"),
        # read by no code of Gallery, and different in each client or request
        *("user-agent", "referer", "accept-language", "cache-control", "pragma", "priority", "dnt", "save-data"),
        *("sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "sec-gpc"),
        *("sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "upgrade-insecure-requests", "via"),
        *("x-real-ip", "x-forwarded-host", "x-forwarded-port", "cf-ray", "cf-connecting-ip"),
        *("x-amzn-trace-id", "x-cloud-trace-context", "x-correlation-id"),
    )
)


FRAMING_HEADERS = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})


class RequestKey(NamedTuple):
    """The target, scheme, version and all headers but `IGNORED_HEADERS`; and two of those, which are answered."""

    key: Hashable
    if_none_match: bytes | None
    request_id: bytes | None
    repeatable: bool  # false for a request with a body, and with two `If-None-Match`, of which the handlers read one

    @classmethod
    def of(cls, target: bytes, scheme: str, version: str, headers: Iterable[tuple[bytes, bytes]]) -> "RequestKey":
        """`target` is the path with the query, as the client has sent it."""
        relevant: list[tuple[bytes, bytes]] = []
        if_none_match = request_id = None
        repeatable = True
        for header in headers:
            name, value = header
            if name not in IGNORED_HEADERS:
                relevant.append(header)
                repeatable = repeatable and name not in FRAMING_HEADERS
            elif name == b"if-none-match":
                repeatable = repeatable and if_none_match is None
                if_none_match = value
            elif name == b"x-request-id" and request_id is None:
                request_id = value
        return cls((target, scheme, version, *relevant), if_none_match, request_id, repeatable)

    @classmethod
    def of_scope(cls, scope: HTTPScope) -> "RequestKey":
        query = scope["query_string"]
        target = b"%b?%b" % (scope["raw_path"], query) if query else scope["raw_path"]
        return cls.of(target, scope["scheme"], scope["http_version"], scope["headers"])
