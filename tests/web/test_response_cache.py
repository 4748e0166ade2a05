"""Responses from a process's memory: the same as without it, never older than a change, bounded, and answered once."""

import asyncio
import itertools
import math
import re
import time
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import msgspec
import prometheus_client
import pytest

import photos
from conftest import running_application, wait_until_caught_up
from credentials import JWT_SECRET, make_token
from factories import CALLER, listen, post, unique_photo, upload_image
from gallery.access.keys import CACHE_SECONDS
from gallery.access.model import Owner, Scope
from gallery.errors import DatabaseUnavailable
from gallery.images import store
from gallery.images.cached_reads import CachedReads
from gallery.images.change_tokens import Reading, image_subject, own_change_tokens
from gallery.images.model import Edit
from gallery.images.reusable import ResponseKind, declare_subject
from gallery.web.authentication import set_authorized
from gallery.web.kept_responses import KeptResponse, KeptResponses
from gallery.web.middleware import response_cache
from gallery.web.middleware.response_cache import MAX_PICTURE_BYTES, ResponseCache
from gallery.web.request_key import IGNORED_HEADERS, RequestKey
from gallery.web.routing import NO_ROUTE
from gallery.wiring import open_gallery, open_processing
from raw_http import RawConnection

ORIGIN = "https://app.example"
CLOSED = {
    "GALLERY_ACCESS__OPEN": "false",
    "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET,
    "CORS_ORIGIN": ORIGIN,
    "GALLERY_ACCESS__CLOCK_SKEW": "0",
}
UNLIMITED = {"GALLERY_RATE__ENABLED": "false"}
WITHOUT = {"GALLERY_CACHE__RESPONSE_BYTES": "0"}
OF_ONE_REQUEST = {b"date", b"x-request-id", b"ratelimit"}


def memory_hits(kind=None):
    """Responses from the memory of this process so far."""
    kinds = [kind] if kind else ["image", "list", "picture"]
    samples = ({"kind": k, "result": "memory"} for k in kinds)
    return sum(prometheus_client.REGISTRY.get_sample_value("gallery_cache_lookups_total", s) or 0 for s in samples)


@pytest.fixture
async def client(gallery, client):
    """Of an application that has begun to keep responses."""
    await wait_until_caught_up(gallery)
    return client


@pytest.fixture
async def closed(environment):
    """An application that requires credentials, and a client without any."""
    async with running_application(environment, **CLOSED, **UNLIMITED) as (gallery, client):
        await wait_until_caught_up(gallery)
        yield gallery, client


async def is_from_memory(client, path, **headers):
    """Whether this request is answered from memory; and the response."""
    before = memory_hits()
    response = await client.get(path, headers=headers)
    return memory_hits() == before + 1, response


async def keep(client, path, **headers):
    """Have the response to this request kept."""
    await client.get(path, headers=headers)
    hit, response = await is_from_memory(client, path, **headers)
    assert hit
    return response


async def title_of(client, image):
    return (await client.get(f"/api/v1/images/{image}")).json()["title"]


# --- the same response as without it ----------------------------------------------------------------------------------

CODINGS = [[], [(b"Accept-Encoding", b"zstd")], [(b"Accept-Encoding", b"br;q=0.5, gzip")]]
ORIGINS = [[], [(b"Origin", ORIGIN.encode())], [(b"Origin", b"https://other.example")]]
HOSTS = [[], [(b"Host", b"gallery.example")]]
SINGLE_HEADERS = [
    [(b"Range", b"bytes=0-9")],
    [(b"Range", b"bytes=999999999-")],
    [(b"If-None-Match", b"*")],
    [(b"If-None-Match", b'"other"')],
    [(b"If-None-Match", b'"1"'), (b"If-None-Match", b'"other"')],
    [(b"X-Request-Id", b"mine")],
    [(b"X-Request-Id", b"not valid")],
    [(b"Accept", b"text/html")],
    [(b"Host", b"a b")],
    [(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-For", b"203.0.113.7")],
    [(b"Forwarded", b"for=203.0.113.7;proto=https")],
    [(b"Content-Length", b"0")],
    [(b"Connection", b"close")],
    [(b"User-Agent", b"Mozilla/5.0")],
]


@asynccontextmanager
async def both(environment, **settings):
    """URLs of an application that keeps responses, and of one that does not, on the same database."""
    async with (
        running_application(environment, **UNLIMITED, **settings) as (keeping, client),
        running_application(environment, **UNLIMITED, **settings, **WITHOUT) as (_, other),
    ):
        await wait_until_caught_up(keeping)
        yield keeping, str(client.base_url), str(other.base_url)


async def answers(url, method, path, headers, version=b"1.1"):
    """A response, without what belongs to one request."""
    async with RawConnection(url) as connection:
        if version == b"1.1":
            response = await connection.request(method, path.encode(), headers)
        else:
            response = await connection.send(method, b"%s %s HTTP/1.0\r\n\r\n" % (method, path.encode()))
    kept = {name: value for name, value in response.headers.items() if name not in OF_ONE_REQUEST}
    sent_id = response.headers[b"x-request-id"] if (b"X-Request-Id", b"mine") in headers else b""
    return response.status, kept, re.sub(rb'"requestId":"[^"]*"', b"", response.body), sent_id


async def compare(keeping, other, paths, header_sets):
    """Compare a response from memory with the other application's; returns how many came from memory."""
    before = memory_hits()
    for path, headers, method in itertools.product(paths, header_sets, (b"GET", b"HEAD")):
        expected = await answers(other, method, path, headers)
        for _ in range(3):
            found = await answers(keeping, method, path, headers)
            assert found == expected, (method, path, headers)
    return memory_hits() - before


async def make_images(keeping, client, **headers):
    """The paths of a private image, a public image, their renditions, and lists of them."""
    paths = ["/api/v1/images", "/api/v1/images?limit=1", "/api/v1/images?status=FAILED", "//api/v1/images/"]
    async with open_processing(keeping) as processing:
        for visibility in ("private", "public"):
            image = (await post(client, headers=headers, visibility=visibility)).json()["id"]
            await processing.process(image)
            ready = (await client.get(f"/api/v1/images/{image}", headers=headers)).json()
            small = min(ready["renditions"], key=lambda r: r["size"])["url"]
            paths += [f"/api/v1/images/{image}", f"/api/v1/images/{image}/original", small, small.partition("?")[0]]
    paths += [f"{paths[4]}?signed=true", "/api/v1/images?limit=1&signed=true"]
    return [*paths, f"{paths[4]}/timeline", f"{paths[4]}/nothing.webp", "/api/v1/images/nothing", "/livez"]


async def test_responses_are_the_same_as_without_it_in_open_mode(environment):
    async with both(environment) as (gallery, keeping, other), httpx.AsyncClient(base_url=keeping) as client:
        paths = await make_images(gallery, client)
        etag = [[(b"If-None-Match", (await client.head(path)).headers["etag"].encode())] for path in paths[4:7]]
        hits = await compare(keeping, other, paths, [*CODINGS, *ORIGINS[1:], *HOSTS[1:], *SINGLE_HEADERS, *etag])
        assert hits > 500
        for path in paths:
            assert await answers(keeping, b"GET", path, [], b"1.0") == await answers(other, b"GET", path, [], b"1.0")
        assert await compare(keeping, other, paths[:3], [[]]) == 3 * 2 * 3, "all of them are from memory"


async def test_responses_are_the_same_as_without_it_for_every_caller(environment):
    async with both(environment, **CLOSED) as (gallery, keeping, other), httpx.AsyncClient(base_url=keeping) as client:
        maya, ben = ({"Authorization": f"Bearer {make_token(owner)}"} for owner in ("maya", "ben"))
        paths = await make_images(gallery, client, **maya)
        _, key = await gallery.access.keys.create(Owner("maya"), "key", [Scope.READ], timedelta(hours=1))
        _, writer = await gallery.access.keys.create(Owner("maya"), "key", [Scope.WRITE], timedelta(hours=1))
        session = await client.post("/api/v1/session", headers=maya)
        cookie = session.headers["set-cookie"].partition(";")[0]
        callers = [
            [],
            *([(b"Authorization", caller["Authorization"].encode())] for caller in (maya, ben)),
            [(b"X-API-Key", key.encode())],
            [(b"X-API-Key", writer.encode())],
            [(b"X-API-Key", b"wrong")],
            [(b"Cookie", cookie.encode())],
            [(b"Cookie", cookie.encode()), (b"X-API-Key", b"wrong")],
        ]
        header_sets = [[*caller, *origin] for caller, origin in itertools.product(callers, ORIGINS[:2])]
        assert await compare(keeping, other, paths, header_sets) > 200


async def test_responses_are_the_same_as_without_it_behind_a_proxy(environment):
    async with both(environment, GALLERY_PROXIES="127.0.0.1") as (gallery, keeping, other):
        async with httpx.AsyncClient(base_url=keeping) as client:
            paths = await make_images(gallery, client)
        schemes = [[], *([(b"X-Forwarded-Proto", scheme)] for scheme in (b"https", b"http", b"https"))]
        assert await compare(keeping, other, paths[:6], schemes) > 60


async def test_each_ignored_header_changes_no_response(environment):
    """Headers beyond these count, so only these could be forgotten."""
    answered = {b"if-none-match", b"x-request-id"}
    async with both(environment) as (gallery, keeping, other), httpx.AsyncClient(base_url=keeping) as client:
        paths = await make_images(gallery, client)
        for path, name in itertools.product(paths[:8], IGNORED_HEADERS - answered):
            value = b"keep-alive" if name == b"connection" else b"203.0.113.7"
            assert await answers(other, b"GET", path, [(name, value)]) == await answers(other, b"GET", path, [])


# --- never older than a change ----------------------------------------------------------------------------------------


async def test_a_change_is_in_the_next_response(gallery, client):
    image = (await post(client, title="Lake")).json()["id"]
    await keep(client, f"/api/v1/images/{image}")
    await keep(client, "/api/v1/images")
    await client.patch(f"/api/v1/images/{image}", json={"title": "Dawn"})
    for path in (f"/api/v1/images/{image}", "/api/v1/images"):
        hit, response = await is_from_memory(client, path)
        assert not hit
        assert "Dawn" in response.text
    await client.delete(f"/api/v1/images/{image}")
    assert (await client.get(f"/api/v1/images/{image}")).status_code == 404
    assert (await client.get("/api/v1/images")).json() == []


async def test_the_pictures_of_a_deleted_image_are_gone(client):
    path = f"/api/v1/images/{(await post(client, photos.a_jpeg(width=40, height=30))).json()['id']}"
    assert len((await keep(client, f"{path}/original")).content) < 64 * 1024
    await client.delete(path)
    assert (await client.get(f"{path}/original")).status_code == 404


async def test_a_response_that_a_change_has_overtaken_is_not_kept(gallery, client, monkeypatch):
    image = (await post(client, title="Lake")).json()["id"]
    read = CachedReads.image

    async def read_slowly(self, caller, image_id):
        entry = await read(self, caller, image_id)
        await gallery.images.edit(CALLER, image_id, Edit(title="Dawn"))
        return entry

    with monkeypatch.context() as patch:
        patch.setattr(CachedReads, "image", read_slowly)
        assert await title_of(client, image) == "Lake"
    assert await title_of(client, image) == "Dawn"


async def test_a_change_whose_writer_died_after_its_commit_is_noticed_by_the_feed(gallery, client):
    image = await upload_image(gallery, title="Lake")
    await keep(client, f"/api/v1/images/{image.id}")
    async with listen(client) as events:
        async with gallery.database.writing() as db:
            changed = await store.edit(db, image.id, CALLER.owner, Edit(title="Dawn"), None)
            await gallery.outbox.add(db, "image.updated", changed)
        await events.next("image.updated")
        assert await title_of(client, image.id) == "Dawn"


async def test_clearing_the_cache_clears_memory_too(client):
    await post(client)
    await keep(client, "/api/v1/images")
    assert (await client.delete("/admin/cache")).status_code == 200
    assert not (await is_from_memory(client, "/api/v1/images"))[0]


async def test_without_a_feed_that_keeps_up_nothing_is_repeated_from_memory(gallery, client, monkeypatch):
    """Changes of other machines are known by the feed alone."""
    await post(client)
    await keep(client, "/api/v1/images")
    monkeypatch.setattr("gallery.images.change_tokens.MAX_LAG_NS", 0)
    assert not (await is_from_memory(client, "/api/v1/images"))[0]


async def test_a_feed_that_cannot_reach_the_database_has_not_caught_up(gallery, client, monkeypatch):
    monkeypatch.setattr("gallery.images.change_tokens.MAX_LAG_NS", 1_300_000_000)

    async def fail(self, *_):
        raise DatabaseUnavailable

    monkeypatch.setattr(type(gallery.events), "number_and_read", fail)
    async with asyncio.timeout(5):
        while gallery.change_tokens.caught_up:
            await asyncio.sleep(0.05)


async def test_a_feed_that_begins_invalidates_for_the_last_events(gallery, settings):
    """Their writers may be about to do so, and no feed of this machine was there yet."""
    image = await upload_image(gallery, title="Lake")
    await gallery.cached_reads.image(CALLER, image.id)
    async with gallery.database.writing() as db:
        changed = await store.edit(db, image.id, CALLER.owner, Edit(title="Dawn"), None)
        await gallery.outbox.add(db, "image.updated", changed)
    await gallery.events.number_and_read(0)
    before = gallery.change_tokens.read(image_subject(image.id))
    async with open_gallery(settings) as other:
        await other.feed._start()
    assert not gallery.change_tokens.is_current(before)


# --- only for its caller, and not longer than its credential ----------------------------------------------------------


async def test_a_revoked_key_is_refused_as_soon_as_without_it(closed):
    gallery, client = closed
    key, text = await gallery.access.keys.create(Owner("maya"), "key", [Scope.READ], None)
    headers = {"X-API-Key": text}
    await keep(client, "/api/v1/images", **headers)
    await gallery.access.keys.revoke(key.id)
    revoked = sent = time.monotonic()
    async with asyncio.timeout(20):
        while (await client.get("/api/v1/images", headers=headers)).status_code == 200:
            assert sent - revoked < CACHE_SECONDS
            await asyncio.sleep(0.02)
            sent = time.monotonic()


async def test_a_response_is_kept_no_longer_than_its_token_is_valid(closed):
    _, client = closed
    expires_at = math.ceil(time.time()) + 2
    headers = {"Authorization": f"Bearer {make_token('maya', exp=expires_at)}"}
    await keep(client, "/api/v1/images", **headers)
    await asyncio.sleep(expires_at + 0.1 - time.time())
    assert (await client.get("/api/v1/images", headers=headers)).status_code == 401


async def test_after_a_logout_nothing_is_answered_from_memory(closed):
    _, client = closed
    await client.post("/api/v1/session", headers={"Authorization": f"Bearer {make_token('maya')}"})
    await keep(client, "/api/v1/images")
    await client.delete("/api/v1/session")
    assert (await client.get("/api/v1/images")).status_code == 401


async def test_no_caller_gets_the_response_of_another(closed):
    _, client = closed
    maya, ben = ({"Authorization": f"Bearer {make_token(owner)}"} for owner in ("maya", "ben"))
    image = (await post(client, headers=maya, title="Lake")).json()["id"]
    for path in ("/api/v1/images", f"/api/v1/images/{image}", f"/api/v1/images/{image}/original"):
        assert (await client.get(path, headers=maya)).status_code == 200
        answer = await client.get(path, headers=ben)
        assert answer.status_code == 404 or answer.json() == []
        assert (await client.get(path)).status_code == 401


async def test_a_signed_link_is_kept_until_it_expires(closed):
    gallery, client = closed
    maya = {"Authorization": f"Bearer {make_token('maya')}"}
    async with open_processing(gallery) as processing:
        image = (await post(client, headers=maya)).json()["id"]
        await processing.process(image)
    links = await client.post(f"/api/v1/images/{image}/links", headers=maya, json={"expiresIn": 5})
    expired_at = time.monotonic() + 5.1
    url = min((r["url"] for r in links.json()["renditions"]), key=lambda url: int(re.search(r"/(\d+)\.", url)[1]))
    first = await keep(client, url)
    await asyncio.sleep(1.1)
    hit, second = await is_from_memory(client, url)
    assert hit
    ages = [int(r.headers["cache-control"].removeprefix("private, max-age=")) for r in (first, second)]
    assert ages[1] < ages[0] <= 5
    await asyncio.sleep(max(0, expired_at - time.monotonic()))
    assert (await client.get(url)).status_code == 403


# --- bounded ----------------------------------------------------------------------------------------------------------


def a_response(body, status=200):
    return KeptResponse(
        status=status, headers=[], head=b"", body=body, etag=b'"1"', kind=ResponseKind.IMAGE, reading=Reading(0, 0),
        valid_until=math.inf, link_expires_at=None, route=NO_ROUTE, path="/", caller=None,
    )  # fmt: skip


def tokens_that_are_caught_up():
    tokens = own_change_tokens()
    tokens.set_caught_up(time.monotonic_ns())
    return tokens


def a_request(path, if_none_match=None):
    return RequestKey(path, if_none_match, None, True)


def test_responses_take_no_more_memory_than_allowed():
    responses = KeptResponses(tokens_that_are_caught_up(), 100_000)
    for number in range(50):
        responses.put(a_request(number), a_response(b"x" * 5000))
        responses.find(a_request(0), 0)
    kept = [number for number in range(50) if responses.find(a_request(number), 0)]
    assert kept == [0, *range(40, 50)], "the first was used all along"
    assert responses.size == len(kept) * a_response(b"x" * 5000).size <= 100_000
    responses.put(a_request("large"), a_response(b"x" * 20_000))
    assert responses.find(a_request("large"), 0) is None
    responses.put(a_request(0), a_response(b"x"))
    assert responses.size == 10 * a_response(b"x" * 5000).size + a_response(b"x").size


def test_a_response_that_is_too_old_is_dropped():
    tokens = tokens_that_are_caught_up()
    responses = KeptResponses(tokens, 100_000)
    responses.put(a_request("/"), msgspec.structs.replace(a_response(b"x"), valid_until=5.0))
    assert responses.find(a_request("/"), 4.9)
    assert responses.find(a_request("/"), 5.0) is None
    assert responses.size == 0
    responses.put(a_request("/"), a_response(b"x"))
    tokens.replace_all()
    assert responses.find(a_request("/"), 0) is None
    assert responses.size == 0


def test_a_client_that_has_the_response_gets_a_304_and_no_other():
    responses = KeptResponses(tokens_that_are_caught_up(), 100_000)
    responses.put(a_request("/"), a_response(b"x"))
    assert responses.find(a_request("/", b'"1"'), 0) is None, "only the application knows the headers of a 304"
    responses.put(a_request("/", b'"1"'), a_response(b"", 304))
    for header, status in ((None, 200), (b'"1"', 304), (b'W/"1", "5"', 304), (b"*", 304), (b'"2"', 200)):
        assert responses.find(a_request("/", header), 0).status == status, header


async def test_large_pictures_are_not_kept(client):
    large = unique_photo() + bytes(MAX_PICTURE_BYTES)
    path = f"/api/v1/images/{(await post(client, large)).json()['id']}/original"
    await client.get(path)
    assert not (await is_from_memory(client, path))[0]


@pytest.mark.parametrize("setting", [WITHOUT, {"GALLERY_CACHE__ENABLED": "false"}])
async def test_it_can_be_turned_off(environment, setting):
    async with running_application(environment, **setting) as (gallery, client):
        await wait_until_caught_up(gallery)
        await client.get("/api/v1/images")
        assert not (await is_from_memory(client, "/api/v1/images"))[0]


# --- many at once -----------------------------------------------------------------------------------------------------


class SlowHandler:
    """An application that declares its response at once and answers when it is told to."""

    def __init__(self, kind=ResponseKind.IMAGE):
        self.requests = []
        self._kind = kind

    async def __call__(self, scope, receive, send):
        if self._kind:
            declare_subject(scope, self._kind, "image:lake")
        set_authorized(scope, CALLER)
        self.requests.append(outcome := asyncio.get_running_loop().create_future())
        status = await outcome
        await send({"type": "http.response.start", "status": status, "headers": [(b"etag", b'"1"')]})
        await send({"type": "http.response.body", "body": b"lake"})

    async def wait_for_requests(self, count):
        async with asyncio.timeout(5):
            while len(self.requests) < count:
                await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert len(self.requests) == count


@pytest.fixture
def crowd(gallery, settings):
    """Ten requests for the same response at once, to a slow handler behind the response cache."""
    tokens = tokens_that_are_caught_up()

    def start(handler):
        responses = KeptResponses(tokens, 1_000_000)
        cache = ResponseCache(handler, responses, tokens, gallery.access, settings.cache)
        return [asyncio.create_task(get(cache)) for _ in range(10)]

    return start


async def get(application):
    """The status of a GET, without a server."""
    statuses = []

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/images/lake",
        "raw_path": b"/api/v1/images/lake",
        "query_string": b"",
        "scheme": "http",
    }
    await application({**scope, "http_version": "1.1", "headers": [], "client": None}, None, send)
    return statuses[0]


async def test_many_requests_at_once_are_answered_by_one(crowd):
    handler = SlowHandler()
    clients = crowd(handler)
    await handler.wait_for_requests(1)
    handler.requests[0].set_result(200)
    assert await asyncio.gather(*clients) == [200] * 10
    assert len(handler.requests) == 1


async def test_when_the_first_one_fails_the_next_one_tries(crowd):
    handler = SlowHandler()
    clients = crowd(handler)
    await handler.wait_for_requests(1)
    clients[0].cancel()
    await handler.wait_for_requests(2)
    clients[1].cancel()
    await handler.wait_for_requests(3)
    handler.requests[2].set_result(200)
    answers = await asyncio.gather(*clients, return_exceptions=True)
    assert answers[2:] == [200] * 8
    assert len(handler.requests) == 3


async def test_a_waiting_client_that_leaves_takes_no_response_from_the_others(crowd):
    handler = SlowHandler()
    clients = crowd(handler)
    await handler.wait_for_requests(1)
    clients[5].cancel()
    handler.requests[0].set_result(200)
    assert (await asyncio.gather(*clients, return_exceptions=True))[6:] == [200] * 4
    assert len(handler.requests) == 1


@pytest.mark.parametrize(("kind", "status"), [(ResponseKind.IMAGE, 503), (None, 200)])
async def test_behind_a_response_that_is_not_kept_all_others_are_answered_at_once(crowd, kind, status):
    handler = SlowHandler(kind)
    clients = crowd(handler)
    await handler.wait_for_requests(1)
    handler.requests[0].set_result(status)
    await handler.wait_for_requests(10)
    for request in handler.requests[1:]:
        request.set_result(200)
    assert await asyncio.gather(*clients) == [status] + [200] * 9


async def test_no_request_waits_for_a_slow_one_for_long(crowd, monkeypatch):
    monkeypatch.setattr(response_cache, "WAIT_SECONDS", 0.1)
    handler = SlowHandler()
    clients = crowd(handler)
    await handler.wait_for_requests(1)
    await asyncio.sleep(0.15)
    await handler.wait_for_requests(10)
    for request in handler.requests:
        request.set_result(200)
    assert await asyncio.gather(*clients) == [200] * 10
