"""Every request gets a response, and never a 5xx: every route, as bytes on a socket.

What stands in a header, a query, a cursor or a token is exchanged for what hurts, each part for each; then hypothesis
mixes. `FUZZ=20` takes so many times as many examples.
"""

import base64
import itertools
import json
import os
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from credentials import make_token
from factories import unique_photo
from fuzzing import (
    CLAIMS,
    CONTROLS,
    FRAGMENTS,
    HEADERS,
    JWT_SECRET,
    LIST_QUERIES,
    LONE_HEADERS,
    NO_ID,
    TOKEN_HEADER_FIELDS,
    VALUES,
    Request,
    Target,
    fuzz_target,
    mutations,
    quote_target,
    sign_token,
)
from raw_http import RawConnection

FUZZ_FACTOR = int(os.environ.get("FUZZ", "1"))
UPLOAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n%s\r\n--x--\r\n'
MULTIPART = (b"Content-Type", b"multipart/form-data; boundary=x")
BODIES = {"POST": b"{}", "PATCH": b'{"title":"a"}'}
ADMIN = (b"Authorization", b"Bearer " + make_token("root", "admin").encode())
HTML = (b"Accept", b"text/html")
pytestmark = pytest.mark.timeout(180 * FUZZ_FACTOR)


def examples(number: int) -> settings:
    return settings(
        max_examples=number * FUZZ_FACTOR,
        deadline=timedelta(seconds=20),
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
async def target(servers, tmp_path_factory) -> AsyncIterator[Target]:
    """Open and without limits: everything can be reached."""
    async with fuzz_target(servers, tmp_path_factory.mktemp("open")) as found:
        yield found


@pytest.fixture(scope="module")
async def closed_application(servers, tmp_path_factory) -> AsyncIterator[Target]:
    """An application with credentials, rate limits, trusted proxies and an allowed origin."""
    given = {"GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "GALLERY_PROXIES": "127.0.0.1", "GALLERY_LOGS__FORMAT": "json"}
    given |= {"GALLERY_RATE__STRANGER": "999999 per 60", "CORS_ORIGIN": "https://app.example:443"}
    async with fuzz_target(servers, tmp_path_factory.mktemp("closed"), **given) as found:
        yield found


# --- each part for each -----------------------------------------------------------------------------------------------

WEIRD = {name: [value for seed in seeds for value in mutations(seed)] for name, seeds in HEADERS.items()}


async def test_headers_that_hurt(target, closed_application):
    """On every route all of them at once, each time with others of their values."""
    for where, more in ((target, []), (closed_application, [ADMIN])):
        await where.send_all(
            Request(
                route.method,
                route.path(where.existing),
                [*more, *((name, values[(12 * index + n) * 7 % len(values)]) for name, values in WEIRD.items())],
                BODIES.get(route.method, b""),
            )
            for index, route in enumerate(where.routes)
            for n in range(12)
        )


async def test_accept_headers_that_hurt(target):
    """Query parameters in every position."""
    await target.send_all(
        Request("GET", path, [(b"Accept", value)])
        for path in (b"/", b"/admin/queues", b"/metrics")
        for value in WEIRD[b"Accept"]
    )


async def test_headers_that_hurt_alone(target, closed_application):
    """Headers that can have a request refused, independently of the others."""
    routes = [
        route for route in target.routes if route.template in ("/", "/api/v1/images", "/api/v1/images/{image_id}")
    ]
    hurting = [(name, value) for name, seeds in LONE_HEADERS.items() for seed in seeds for value in mutations(seed)]
    for where in (target, closed_application):
        await where.send_all(
            Request(route.method, route.path(where.existing), [header], BODIES.get(route.method, b""))
            for header, route in zip(hurting, itertools.cycle(routes), strict=False)
        )


async def test_queries_that_hurt(target):
    await target.send_all(
        Request(route.method, b"%s?%s=%s" % (route.path(target.existing), name.encode(), quote_target(piece)))
        for route in target.routes
        for name in route.parameters
        for piece in FRAGMENTS
    )


async def test_paths_that_hurt(target):
    await target.send_all(
        Request(route.method, route.path(target.existing, piece), (), BODIES.get(route.method, b""))
        for route in target.routes
        for piece in (FRAGMENTS if "{" in route.template else [])
    )


async def test_cursors_that_hurt(target):
    await target.send_all(
        page
        for (path, query), cursor in target.cursors.items()
        for index in range(len(cursor))
        for value in VALUES
        for page in pages(path, query, [*cursor[:index], value, *cursor[index + 1 :]])
    )


async def test_tokens_that_hurt(closed_application):
    """Tokens signed with the right secret: an issuer may have bugs."""
    variants = [({}, {claim: value}) for claim in CLAIMS for value in VALUES]
    variants += [({part: value}, {}) for part in TOKEN_HEADER_FIELDS for value in VALUES]
    await closed_application.send_all(shown for header, claims in variants for shown in with_bearer(header, claims))


def pages(path: str, query: str, cursor: list[object]) -> list[Request]:
    """The page after the cursor, and that of operators."""
    text = base64.urlsafe_b64encode(json.dumps(cursor).encode()).rstrip(b"=")
    found = [Request("GET", b"%s?%slimit=1&cursor=%s" % (path.encode(), query.encode(), text))]
    if path.startswith("/admin"):
        found.append(Request("GET", b"/admin/queues?cursor=" + text, [HTML]))
    return found


def with_bearer(header: dict[str, object], claims: dict[str, object]) -> list[Request]:
    all_claims = {"sub": "maya", "scope": "images:read images:write admin", "exp": int(time.time()) + 600, **claims}
    token = [(b"Authorization", b"Bearer " + sign_token({"alg": "HS256", "typ": "JWT", **header}, all_claims))]
    return [
        Request("GET", b"/api/v1/images", token),
        Request("POST", b"/api/v1/session", token),
    ]


TARGETS = [
    b"http://a[x/",
    b"//[",
    b"[",
    b"http://",
    b"http://a:x/",
    b"http://a:99999999/",
    b"/\xff",
    b"/" + b"x" * 70_000,
]


async def test_targets_that_are_none(target):
    for line in (*(b"GET %s HTTP/1.1" % each for each in TARGETS), b"CONNECT a:443 HTTP/1.1", b"GET http://a[x/1.1"):
        for end in (b"", b"Connection: close\r\n"):
            async with RawConnection(target.url) as wire:
                answer = await wire.send(b"GET", line + b"\r\nHost: 127.0.0.1\r\n%s\r\n" % end)
                assert 400 <= answer.status < 500, line[:99]
                assert answer.headers[b"content-type"] == b"application/problem+json", line[:99]
                after = await target.send(wire, Request("GET", b"/livez"))
                assert after.status == 200


async def test_invalid_bytes_after_a_request_keep_its_response(target):
    """A length that is too small, for example: the rest of the body is read as a request."""
    for method, path in (("POST", b"/admin/queues/resume"), ("GET", b"/readyz"), ("GET", b"/api/v1/images")):
        for rest in (b"\xff\xd8\xff", b"GET [ HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nA B: x\r\n\r\n", b"x" * 100_000):
            async with RawConnection(target.url) as wire:
                answer = await target.send(wire, Request(method, path, [(b"Content-Length", b"2")], b"{}" + rest))
                assert answer.status in (200, 201), (path, rest[:9])


# --- and mixed --------------------------------------------------------------------------------------------------------


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds with pieces put into it, rarely with bytes that may stand in no header."""
    value = draw(st.sampled_from([*seeds, b""]))
    for _ in range(draw(st.integers(0, 3))):
        piece = draw(st.sampled_from(FRAGMENTS) | st.binary(min_size=1, max_size=9).map(visible))
        start = draw(st.integers(0, len(value)))
        value = value[:start] + piece + value[start + draw(st.integers(0, 9)) :]
    return value + draw(st.sampled_from(CONTROLS)) if draw(st.integers(0, 29)) == 0 else value


def visible(raw: bytes) -> bytes:
    return bytes(byte if byte >= 0x20 and byte != 0x7F else 0x41 for byte in raw)


ANY_HEADERS = {**HEADERS, **LONE_HEADERS}
HEADER = st.sampled_from(sorted(ANY_HEADERS)).flatmap(lambda name: st.tuples(st.just(name), mutated(ANY_HEADERS[name])))
VALUE = mutated([b"1", b"READY", b"-createdAt", NO_ID.encode(), b"valkey", b"image.ready", b"worker_lost", b"a b"])
JSON = st.recursive(
    st.sampled_from([value for value in VALUES if not isinstance(value, list | dict)])
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@examples(300)
@given(data=st.data(), asking=st.booleans(), headers=st.lists(HEADER, min_size=1, max_size=5))
async def test_any_headers(target, closed_application, data, asking, headers):
    where = closed_application if asking else target
    route = data.draw(st.sampled_from(where.routes))
    body = data.draw(st.sampled_from([b"{}", UPLOAD % unique_photo()])) if route.method in BODIES else b""
    method = "HEAD" if route.method == "GET" and data.draw(st.booleans()) else route.method
    more = [*([ADMIN] if asking and data.draw(st.booleans()) else []), *([MULTIPART] if body[:1] == b"-" else [])]
    async with RawConnection(where.url) as wire:
        await where.send(wire, Request(method, route.path(where.existing), [*more, *headers], body))


@examples(300)
@given(data=st.data(), values=st.lists(VALUE, max_size=3), path=st.none() | VALUE)
async def test_any_path_and_query(target, data, values, path):
    route = data.draw(st.sampled_from(target.routes))
    names = [data.draw(st.sampled_from([*route.parameters, "x", ""])).encode() for _ in values]
    query = b"&".join(b"%s=%s" % (name, quote_target(value)) for name, value in zip(names, values, strict=True))
    async with RawConnection(target.url) as wire:
        request = Request(
            route.method, route.path(target.existing, path) + b"?" + query, (), BODIES.get(route.method, b"")
        )
        await target.send(wire, request)


@examples(150)
@given(listed=st.sampled_from(LIST_QUERIES), cursor=st.lists(JSON, max_size=6), kept=st.sets(st.integers(0, 3)))
async def test_any_cursor(target, listed, cursor, kept):
    """Cursors that keep some elements of a valid one."""
    own = target.cursors[listed]
    mixed = [own[index] if index in kept and index < len(own) else value for index, value in enumerate(cursor)]
    await target.send_all(pages(*listed, mixed))


@examples(150)
@given(
    header=st.dictionaries(st.sampled_from(TOKEN_HEADER_FIELDS), JSON, max_size=1),
    claims=st.dictionaries(st.sampled_from(CLAIMS), JSON | st.integers(0, 2**34), max_size=3),
)
async def test_any_token(closed_application, header, claims):
    await closed_application.send_all(with_bearer(header, claims))


@examples(200)
@given(
    line=mutated([b"GET / HTTP/1.1", b"GET http://a/ HTTP/1.1", b"OPTIONS * HTTP/1.1", b"POST /api/v1/images HTTP/1.0"])
)
async def test_any_request_line(target, line):
    async with RawConnection(target.url) as wire:
        answer = await wire.send(line.split(b" ")[0], line.replace(b"\r", b"") + b"\r\nHost: 127.0.0.1\r\n\r\n")
    assert 200 <= answer.status < 500, line
