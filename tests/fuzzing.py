"""A running API for fuzz tests, and the unusual requests that are sent to each of its routes."""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import typing
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.params import QueryParameter

import gallery_processes
import photos
from credentials import JWT_SECRET
from databases import application_environment
from factories import CALLER, upload_image
from failed_work import fail_images
from gallery.access.model import DEFAULT_POLICY, UploadRules
from gallery.images.list_query import Sort
from gallery.settings import Settings
from gallery.uploads.model import NewUpload, Protocol
from gallery.web.app import make_app
from gallery.wiring import open_gallery, open_processing
from raw_http import Headers, RawConnection, RawResponse

NO_ID = "01990000-0000-7000-8000-000000000000"
MISSING = dict.fromkeys(("image_id", "upload_id", "ticket_id"), NO_ID)
LIST_QUERIES = [*(("/api/v1/images", f"sort={sort}&") for sort in Sort), ("/admin/queues/failed", "")]
CONNECTIONS = 4
FAST_SETTINGS = {  # bodies that do not come are given up soon
    "GALLERY_SERVE__BODY_GRACE": "0.2",
    "GALLERY_SERVE__HEADER_TIMEOUT": "2",
    "GALLERY_LOGS__FORMAT": "text",
}

# --- the requests -----------------------------------------------------------------------------------------------------

HEADERS = {  # usual values; parts of them are exchanged
    b"Accept": [b"text/html;q=0.9,*/*;q=0.8", b"application/openmetrics-text;version=1.0.0;escaping=dots;q=0.6"],
    b"Accept-Encoding": [b"gzip;q=1.0, br;q=0.5, *;q=0"],
    b"Accept-Language": [b"de-CH;q=0.9, en;q=0.8"],
    b"Cookie": [b'gallery_session=WyJhIl0.k1.c2ln; a="b"; c'],
    b"Forwarded": [b'for="[2001:db8::1]:80";proto=https, for=10.0.0.1'],
    b"X-Forwarded-For": [b"203.0.113.1, 10.0.0.1:80", b"[fe80::1%25eth0]:1"],
    b"X-Forwarded-Proto": [b"https, http"],
    b"X-Forwarded-Host": [b"a.example:80"],
    b"Range": [b"bytes=0-99", b"bytes=-5, 7-"],
    b"If-Range": [b'"abc"', b"Wed, 21 Oct 2026 07:28:00 GMT"],
    b"If-Match": [b'"1", W/"2"'],
    b"If-None-Match": [b'"1-zstd", W/"2"'],
    b"If-Modified-Since": [b"Wed, 21 Oct 2026 07:28:00 GMT"],
    b"If-Unmodified-Since": [b"Wed, 21 Oct 2026 07:28:00 GMT"],
    b"Prefer": [b"respond-async, wait=0"],
    b"Last-Event-ID": [b"12"],
    b"Referer": [b"https://app.example/a?b#c"],
    b"X-Request-Id": [b"abc-123"],
    b"Traceparent": [b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    b"Tracestate": [b"a=1,b=2"],
    b"DPR": [b"2.0"],
}
LONE_HEADERS = {  # each of them alone may be why a request is refused, so it is sent alone
    b"Authorization": [
        b"Bearer gk_0123456789abcdef_" + b"A" * 43,
        b"Bearer a.b.c",
        b"Basic YTpi",
        b"Upload gt_" + b"0" * 32 + b"_" + b"A" * 43,
    ],
    b"X-Api-Key": [b"gk_0123456789abcdef_" + b"A" * 43],
    b"Origin": [b"https://app.example:443"],
    b"Access-Control-Request-Method": [b"PATCH"],
    b"Host": [b"127.0.0.1:3000", b"[::1]:3000"],
    b"Content-Type": [b"multipart/form-data; boundary=x", b"application/json; charset=utf-8"],
    b"Content-Length": [b"12"],
    b"Content-Encoding": [b"gzip"],
    b"Transfer-Encoding": [b"chunked"],
    b"Idempotency-Key": [b"8e03978e-40d5"],
    b"Expect": [b"100-continue"],
    b"Connection": [b"keep-alive, upgrade"],
    b"Upgrade": [b"websocket"],
    b"Sec-WebSocket-Key": [b"dGhlIHNhbXBsZQ=="],
    b"TE": [b"trailers"],
}
NUMBERS = [
    b"inf",
    b"nan",
    b"1e999",
    b"-1",
    b"0",
    b"9" * 20,
    b"9" * 400,
    b"9" * 5000,
    "\u0663".encode(),
    b"\xb2",
    b"0x1",
]
FRAGMENTS = [
    *NUMBERS, b"", b"\xff", b"\xe9", b"\xa0", b"\x85", b"\t", b'"', b"\\", b",", b";", b"=", b":", b"*", b"?", b"#",
    b"%", b"%00", b"%ff", b"%ed%a0%80", b"..", b"[", b"]", b"{", b"<", b"@", b"x" * 9000, b",a" * 2000, b";a=b" * 900,
    b'"' * 3000, b"::1", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00", b"\xf0\x9f\x8f\x94",
]  # fmt: skip
CONTROLS = [b"\x00", b"\x01", b"\x0b", b"\x1b", b"\x7f", b"\r"]
VALUES = [  # of any JSON
    None, True, [], {}, [[]], {"a": {}}, 0, -1, 1.5, 2**31, 2**53, 2**63, 2**64, 10**18, 10**400, -(10**400), 1e300,
    float("inf"), float("-inf"), float("nan"), "", " ", "\x00", "\ud800", "a" * 5000, "9" * 400, "inf", "\U0010ffff",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00", "2026-01-01", NO_ID, ["a", 1],
]  # fmt: skip
CLAIMS = ("exp", "nbf", "iat", "sub", "scope", "aud", "iss", "jti", "x")
TOKEN_HEADER_FIELDS = ("alg", "kid", "typ", "crit", "b64", "zip", "jku", "jwk", "x5c", "cty")
TOKEN = re.compile(rb"[A-Za-z]+|[0-9.]+|[^A-Za-z0-9.]")


def mutations(seed: bytes) -> Iterator[bytes]:
    """The seed with each number replaced by each fragment, and with each fragment in one other position."""
    tokens = list(TOKEN.finditer(seed))
    numbers = [token for token in tokens if token[0][:1].isdigit()]
    others = [token for token in tokens if token not in numbers]
    for place, piece in enumerate(FRAGMENTS):
        for token in [*numbers, others[place % len(others)]] if others else numbers:
            yield seed[: token.start()] + piece + seed[token.end() :]


def sign_token(header: dict[str, Any], claims: dict[str, Any]) -> bytes:
    """A token, by the right secret."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signature = hmac.new(JWT_SECRET.encode(), b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")])


def quote_target(value: bytes) -> bytes:
    """Escapes characters that a request line may not contain, as a client does."""
    return re.sub(rb"[\x00-\x20#\x7f]", lambda match: b"%%%02x" % match[0][0], value)


# --- the API ----------------------------------------------------------------------------------------------------------


class Request(typing.NamedTuple):
    method: str
    target: bytes
    headers: Headers = ()
    body: bytes = b""


@dataclass(frozen=True)
class Route:
    method: str
    template: str
    parameters: tuple[str, ...]  # of the query

    def path(self, existing: dict[str, str], value: bytes | None = None) -> bytes:
        """The path with `value` as its parameters; without `value`, with existing ids (missing ones for DELETE)."""
        names = {**existing, **MISSING} if self.method == "DELETE" else existing
        parts = re.split(r"{(\w+)}", self.template)
        parts[1::2] = [names[name] if value is None else quote_target(value).decode("latin-1") for name in parts[1::2]]
        return "".join(parts).encode("latin-1")


@dataclass(repr=False)
class Target:
    """A running API, and the ids and cursors of its contents."""

    url: str
    routes: list[Route]
    existing: dict[str, str]
    cursors: dict[tuple[str, str], list[Any]] = field(default_factory=dict)  # of the lists, one of each, as JSON
    status_counts: Counter[int] = field(default_factory=Counter)

    def __repr__(self) -> str:
        return self.url

    async def send(self, wire: RawConnection, request: Request) -> RawResponse:
        """The answer; asserts that there is one and that it is not a 5xx."""
        answer = await wire.request(request.method.encode(), request.target, request.headers, request.body)
        self.status_counts[answer.status] += 1
        assert 200 <= answer.status < 500, (request, answer.status, answer.body[:300])
        return answer

    async def send_all(self, requests: Iterable[Request]) -> None:
        left = iter(requests)

        async def some() -> None:
            async with RawConnection(self.url) as wire:
                for request in left:
                    await self.send(wire, request)

        await asyncio.gather(*(some() for _ in range(CONNECTIONS)))

    async def read_cursors(self) -> None:
        async with RawConnection(self.url) as wire:
            for path, query in LIST_QUERIES:
                answer = await self.send(wire, Request("GET", f"{path}?{query}limit=1".encode()))
                text = re.search(rb"cursor=([\w-]+)", answer.headers[b"link"])[1]  # type: ignore[index]
                self.cursors[path, query] = json.loads(base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4)))


@asynccontextmanager
async def fuzz_target(servers: Settings, folder: Path, **more: str) -> AsyncIterator[Target]:
    """An API process that must not have logged an error when the block ends."""
    environment = await application_environment(servers, folder)
    async with (
        open_gallery(Settings.read(environment)) as gallery,
        open_processing(gallery, name="worker") as processing,
    ):
        images = [await upload_image(gallery, photos.a_jpeg(64, 48, seed=seed), title=f"{seed}") for seed in range(2)]
        await processing.process(images[0].id)
        await fail_images(gallery, processing, "a", "b")
        upload = await gallery.resumable_uploads.create(CALLER, NewUpload(protocol=Protocol.TUS, size=1000))
        ticket = await gallery.access.upload_tickets.create(CALLER, 1, 600, UploadRules())
        found = sorted(set(_routes(make_app(gallery).asgi)), key=lambda route: (route.template, route.method))
    there = {
        "image_id": images[0].id,
        "upload_id": upload.id,
        "number": "1",
        "ticket_id": ticket.id,
        "job_id": "1",
        "file": "320.webp",
        "region": "full",
        "size": "max",
        "rotation": "0",
        "name": "home.js",
        "path": "nothing",
    }
    async with gallery_processes.api(environment, folder, **{**FAST_SETTINGS, **more}) as api:
        target = Target(api.url, found, there)
        if not more:
            await target.read_cursors()
        yield target
        for word in ("Traceback", "request.failed", "Exception in ASGI", "Logging error"):
            assert word not in api.log_text()


def _routes(app: Any) -> Iterator[Route]:
    while not isinstance(app, Litestar):
        app = app._app
    document = app.openapi_schema.to_schema()["paths"]
    for route in app.routes:
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                described = document.get(route.path_format, {}).get(method.lower(), {}).get("parameters", [])
                names = [each["name"] for each in described if each["in"] == "query"]
                yield Route(method, route.path_format, tuple(dict.fromkeys([*names, *_parameters(handler)])))
    yield Route("OPTIONS", "/api/v1/images", ())


def _parameters(handler: Any) -> Iterator[str]:
    """The query parameters of the handler, documented or not, and those of its route policy."""
    for name, hint in handler.fn.__annotations__.items():
        yield from (each.name or name for each in getattr(hint, "__metadata__", ()) if isinstance(each, QueryParameter))
    policy = handler.opt.get("policy", DEFAULT_POLICY)
    yield from ("sig", "kid", "exp", "download") if policy.link_purposes else ()
    yield from ("ticket",) if policy.allow_ticket else ()
