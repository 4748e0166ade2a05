"""What a response may depend on, so that requests with the same key can get the same response."""

from collections.abc import Hashable
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


class RequestKey(NamedTuple):
    """The path, the query, the scheme and all headers but `IGNORED_HEADERS`; and two of those, which are answered."""

    key: Hashable
    if_none_match: bytes | None
    request_id: bytes | None
    repeatable: bool  # false for a request with two `If-None-Match`, of which the handlers read one

    @classmethod
    def of(cls, scope: HTTPScope) -> "RequestKey":
        relevant: list[tuple[bytes, bytes]] = []
        if_none_match = request_id = None
        repeatable = True
        for header in scope["headers"]:
            name, value = header
            if name not in IGNORED_HEADERS:
                relevant.append(header)
            elif name == b"if-none-match":
                repeatable = if_none_match is None
                if_none_match = value
            elif name == b"x-request-id" and request_id is None:
                request_id = value
        key = (scope["path"], scope["query_string"], scope["scheme"], scope["http_version"], *relevant)
        return cls(key, if_none_match, request_id, repeatable)
