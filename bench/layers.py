"""What each part of a cached read costs, in one process and without a socket: `python -m bench.layers`.

Bytes go into the protocol, and a transport without a socket takes the response. The variants take turns; the figure is
µs of CPU in the quickest fifth of the rounds.
"""

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import uvloop
from litestar.types import ASGIApp
from uvicorn.server import ServerState

from bench.bare import make_answer
from gallery.images.change_tokens import Reading, own_change_tokens
from gallery.images.reusable import ResponseKind
from gallery.ops import metrics, request_log
from gallery.ops.request_log import BatchingHandler, RequestFacts, RequestLog
from gallery.settings import ServeSettings
from gallery.web.kept_responses import KeptResponse, KeptResponses, encode_head
from gallery.web.middleware.proxies import Proxies
from gallery.web.middleware.repeat import Repeater
from gallery.web.middleware.requests import request_id_from
from gallery.web.repeating_protocol import RepeatingProtocol
from gallery.web.request_key import RequestKey
from gallery.web.routing import Route
from gallery.web.server import Server

ROUNDS, REPEATS = 100, 200
TARGET = "/api/v1/images/01a226ce-dadc-767f-93d8-07c77cab17ee"
REQUEST = f"GET {TARGET} HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n".encode()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", b"2000"),
    (b"etag", b'"1"'),
    (b"cache-control", b"private, no-cache, no-transform"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]
Part = Callable[[], Any]


class NoSocket(asyncio.Transport):
    def write(self, data: Any) -> None: ...
    def writelines(self, list_of_data: Any) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def make_repeater() -> tuple[Repeater, KeptResponses, RequestKey]:
    tokens = own_change_tokens()
    tokens.set_caught_up(2**63)
    responses = KeptResponses(tokens, 1_000_000)
    key = RequestKey.of(TARGET.encode(), "http", "1.1", [(b"host", b"127.0.0.1:3000")])
    entry = KeptResponse(
        status=200,
        headers=HEADERS,
        head=encode_head(200, HEADERS, 2000),
        body=bytes(2000),
        etag=b'"1"',
        kind=ResponseKind.IMAGE,
        reading=Reading(0, 0),
        valid_until=float("inf"),
        link_expires_at=None,
        route=Route("/api/v1/images/{image_id}", {}),
        path=TARGET,
        caller=None,
    )
    responses.put(key, entry)
    return Repeater(responses, Proxies([])), responses, key


def connected(app: ASGIApp, repeater: Repeater | None) -> RepeatingProtocol:
    config = Server(app, ServeSettings(), before_stop=lambda: None).config
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Sun, 29 Nov 2026 10:00:00 GMT")]
    protocol = RepeatingProtocol(
        repeater, ServeSettings(), lambda: False, config=config, server_state=state, app_state={}
    )
    protocol.connection_made(NoSocket())
    return protocol


def parts() -> dict[str, Part]:
    start, body = make_answer(2000)

    async def bare(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001  ASGI's signature
        await send(start)
        await send(body)

    async def long(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001  ASGI's signature
        await send({**start, "headers": HEADERS})
        await send(body)

    repeater, responses, key = make_repeater()
    bare_protocol, long_protocol = connected(bare, None), connected(long, None)
    known, parsed = connected(bare, repeater), connected(bare, repeater)

    def parse() -> None:
        repeater.known_requests = type(repeater.known_requests)()
        parsed.data_received(REQUEST)

    facts = RequestFacts("0123456789abcdef", "GET", TARGET, 200, 0.1)
    return {
        "bare answer, with its task": lambda: _answered(bare_protocol),
        "the same with eight headers": lambda: _answered(long_protocol),
        "kept response, parsed": parse,
        "kept response, known bytes": lambda: known.data_received(REQUEST),
        "  find the response": lambda: responses.find(key, time.monotonic()),
        "  request id": lambda: request_id_from(None),
        "  count and histogram": _measure,
        "  log line": lambda: request_log.write(logging.INFO, facts),
        "an empty call": lambda: None,
    }


def _measure() -> None:
    metrics.CACHE.add(ResponseKind.IMAGE, "memory")
    metrics.REQUESTS.observe(0.0001, "GET", "/api/v1/images/{image_id}", "2xx")


async def _answered(protocol: RepeatingProtocol) -> None:
    protocol.data_received(REQUEST)
    await asyncio.sleep(0)  # the task's turn
    assert protocol.cycle.response_complete


async def measure(variants: Mapping[str, Part]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, part in variants.items():
            started = time.process_time_ns()
            for _ in range(REPEATS):
                result = part()
                if isinstance(result, Awaitable):
                    await result
            found[name].append((time.process_time_ns() - started) / REPEATS / 1000)
        await asyncio.sleep(0)
    return {name: sorted(spent)[ROUNDS // 5] for name, spent in found.items()}


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gallery-layers-") as folder, (Path(folder) / "log").open("w") as file:
        request_log.use(RequestLog(BatchingHandler(file), logging.INFO, {}))
        for name, spent in (await measure(parts())).items():
            print(f"{name:32}{spent:8.2f}")
        request_log.use(None)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
