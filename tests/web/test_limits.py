"""Rate limits: exact numbers of requests, over any number of processes."""

import asyncio
import math
import time
from collections import Counter

import httpx
import jwt
import pytest

import gallery_processes
import photos
from conftest import running_application
from factories import listen, post, upload_image
from gallery.access.model import Caller, Owner, Scope, UploadRules
from gallery.adapters.valkey.client import open_valkey
from gallery.adapters.valkey.rates import RateClass, RateCounters, RateLimit
from gallery.errors import Misconfigured, ValkeyUnavailable
from gallery.settings import Settings
from gallery.web.request_limits import rate_limits_enabled

PATIENT = {"GALLERY_REDIS__TIMEOUT": "30"}  # on a busy machine nothing would be limited after the default of a second
LIMITS_ENABLED = {"GALLERY_RATE__ENABLED": "true", **PATIENT}
SECRET = "a secret that is long enough for a test"
UNKNOWN = "01990000-0000-7000-8000-000000000000"


def hourly_limit(requests: int) -> dict[str, str]:
    """A period so long that no request is regained during a test."""
    return {**LIMITS_ENABLED, "GALLERY_RATE__STRANGER": f"{requests} per 3600"}


def token(name: str) -> str:
    return jwt.encode({"sub": name, "scope": "images:read", "exp": time.time() + 600}, SECRET, "HS256")


async def status_counts(client: httpx.AsyncClient, number: int, path: str = "/api/v1/images/x") -> Counter[int]:
    answers = await asyncio.gather(*(client.get(path) for _ in range(number)))
    return Counter(answer.status_code for answer in answers)


async def test_two_processes_allow_exactly_a_hundred_requests(environment, tmp_path):
    async with (
        gallery_processes.api(environment, tmp_path / "one", **hourly_limit(100)) as one,
        gallery_processes.api(environment, tmp_path / "two", **hourly_limit(100)) as two,
        httpx.AsyncClient(base_url=one.url, timeout=30) as maya,
        httpx.AsyncClient(base_url=two.url, timeout=30) as noor,
    ):
        found = sum(await asyncio.gather(status_counts(maya, 150), status_counts(noor, 150)), Counter())
        assert found == {404: 100, 429: 200}


async def test_every_response_has_the_remaining_requests(environment):
    async with running_application(environment, **hourly_limit(3)) as (_, client):
        began = time.monotonic()
        for left in (2, 1, 0):
            answer = await client.get("/api/v1/images")
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"requests";q=3;w=3600'
            remaining, reset = answer.headers["ratelimit"].split(";t=")
            assert remaining == f'"requests";r={left}'
            assert_counts_down(reset, (3 - left) * 1200, began)
        refused = await client.get("/api/v1/images")
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert (refused.json()["code"], refused.json()["status"]) == ("too_many_requests", 429)
        assert refused.json()["requestId"] == refused.headers["x-request-id"]
        assert refused.headers["ratelimit-policy"] == '"requests";q=3;w=3600'
        remaining, reset = refused.headers["ratelimit"].split(";t=")
        assert remaining == '"requests";r=0'
        assert_counts_down(reset, 3600, began)
        assert_counts_down(refused.headers["retry-after"], 1200, began)


def assert_counts_down(header: str, seconds: int, began: float) -> None:
    """The header has the seconds that are left of `seconds`, which began after `began`."""
    assert math.ceil(seconds - (time.monotonic() - began)) <= int(header) <= seconds


async def test_a_client_that_waits_for_retry_after_may_send_one_more_request(environment):
    async with running_application(environment, **LIMITS_ENABLED, GALLERY_RATE__STRANGER="2 per 6") as (_, client):
        began = time.monotonic()
        assert await status_counts(client, 2) == {404: 2}
        refused = await client.get("/api/v1/images")
        assert refused.status_code == 429
        assert_counts_down(refused.headers["retry-after"], 3, began)
        await asyncio.sleep(int(refused.headers["retry-after"]))
        assert [(await client.get("/api/v1/images")).status_code for _ in range(2)] == [200, 429]


async def test_renditions_and_uploads_are_counted_apart(environment):
    given = {"GALLERY_RATE__UPLOADS": "1 per 3600 s", "GALLERY_RATE__RENDITIONS": "2 per 3600"}
    async with running_application(environment, **hourly_limit(3), **given) as (gallery, client):
        image = await upload_image(gallery)
        first = await client.get(f"/api/v1/images/{image.id}/original")
        assert first.headers["ratelimit"].startswith('"renditions";r=1')
        assert (await client.head(f"/api/v1/images/{UNKNOWN}/320.webp")).status_code != 429
        assert (await client.get(f"/api/v1/images/{UNKNOWN}/320.webp")).status_code == 429
        assert (await post(client, photos.a_png())).headers["ratelimit-policy"] == '"uploads";q=1;w=3600'
        assert (await post(client)).status_code == 429
        assert await status_counts(client, 4, f"/api/v1/images/{image.id}/download") == {200: 3, 429: 1}


async def test_upload_tickets_are_counted_alone_and_together(environment):
    """An owner gets no unlimited number of uploads by making tickets, and one page does not stop all others."""
    limits = {**LIMITS_ENABLED, "GALLERY_RATE__UPLOADS": "1 per 3600", "GALLERY_RATE__KEY_FACTOR": "2"}
    async with running_application(environment, GALLERY_ACCESS__JWT_SECRET=SECRET, **limits) as (gallery, client):
        maya, noah = (Caller(owner=Owner(name), scopes=frozenset({Scope.WRITE})) for name in ("maya", "noah"))

        async def uploads(owner: Caller) -> list[int]:
            made = await gallery.access.upload_tickets.create(owner, 9, 600, UploadRules())
            ticket = {"Authorization": f"Upload {made.text}"}
            return [(await post(client, photos.a_png(), headers=ticket)).status_code for _ in range(3)]

        found = [await uploads(owner) for owner in (maya, maya, maya, noah)]
        assert found == [[201, 200, 429], [200, 200, 429], [429, 429, 429], [201, 200, 429]]


async def test_probes_and_static_files_are_not_limited(environment):
    async with running_application(environment, **hourly_limit(1)) as (_, client):
        for path in ("/livez", "/readyz", "/health", "/static/home.js", "/favicon.ico"):
            for _ in range(3):
                answer = await client.get(path)
                assert answer.status_code == 200, path
                assert "ratelimit" not in answer.headers
        assert [(await client.get("/")).status_code for _ in range(2)] == [200, 429]


async def test_a_stream_is_one_request(environment):
    async with running_application(environment, **hourly_limit(2)) as (gallery, client):
        async with listen(client) as maya:
            for _ in range(5):
                await upload_image(gallery)
                await maya.next("image.uploaded")
        assert await status_counts(client, 2) == {404: 1, 429: 1}


async def test_an_authenticated_caller_has_a_higher_limit_of_its_own(environment):
    given = {**hourly_limit(2), "GALLERY_RATE__KEY_FACTOR": "3", "GALLERY_ACCESS__JWT_SECRET": SECRET}
    path = f"/api/v1/images/{UNKNOWN}"
    async with running_application(environment, **given) as (_, client):
        for name in ("maya", "noor"):
            client.headers["Authorization"] = f"Bearer {token(name)}"
            answer = await client.get(path)
            assert answer.headers["ratelimit-policy"] == '"requests";q=6;w=3600'
            assert await status_counts(client, 7, path) == {404: 5, 429: 2}
        client.headers["Authorization"] = f"Bearer {token('maya')}x"
        assert await status_counts(client, 3, path) == {401: 2, 429: 1}, "an invalid token counts for the address"


async def test_without_valkey_nothing_is_limited(environment):
    async with running_application(environment, **hourly_limit(1)) as (gallery, client):
        gallery.valkey._unavailable_until = math.inf
        assert await status_counts(client, 5) == {404: 5}


async def test_without_valkey_all_requests_are_refused_when_configured(environment):
    async with running_application(environment, **hourly_limit(9), GALLERY_RATE__WHEN_VALKEY_IS_AWAY="closed") as (
        gallery,
        client,
    ):
        gallery.valkey._unavailable_until = math.inf
        answer = await client.get("/api/v1/images/x")
        assert (answer.status_code, answer.json()["code"]) == (503, "valkey_away")
        assert answer.headers["retry-after"] == "2"
        assert (await client.get("/livez")).status_code == 200
        gallery.valkey._unavailable_until = 0.0
        assert (await client.get("/api/v1/images/x")).status_code == 404


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        ({"GALLERY_HOST": "::1"}, False),
        ({"GALLERY_HOST": "0.0.0.0", "GALLERY_ACCESS__OPEN": "true"}, True),
        ({"GALLERY_ACCESS__OPEN": "true"}, True),
        ({"GALLERY_PROXIES": "127.0.0.1"}, True),
        ({"GALLERY_HOST": "0.0.0.0", "GALLERY_RATE__ENABLED": "false"}, False),
        (LIMITS_ENABLED, True),
    ],
)
def test_limits_are_enabled_unless_only_this_machine_can_connect(given, expected):
    assert rate_limits_enabled(Settings.read(given)) is expected


# --- the script ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def valkey(environment):
    async with open_valkey(Settings.read({**environment, **PATIENT}).redis) as valkey:
        yield valkey


@pytest.mark.parametrize(
    "limit", [RateLimit(1, 3600), RateLimit(7, 3600), RateLimit(100, 3600), RateLimit(6000, 3600 * 6000)]
)
async def test_a_burst_is_the_limit_exactly(valkey, limit):
    rates = RateCounters(valkey)
    allowed = 0
    for _ in range(0, limit.requests + 50, 50):
        allowed += sum(
            verdict.allowed
            for verdict in await asyncio.gather(*(rates.take(RateClass.REQUESTS, "maya", limit) for _ in range(50)))
        )
    assert allowed == limit.requests


async def test_counts_expire(valkey):
    await RateCounters(valkey).take(RateClass.REQUESTS, "maya", RateLimit(10, 3600))
    life = await valkey.call(lambda server: server.pttl(f"{valkey.prefix}:limit:requests:{{maya}}"))
    assert 300_000 < life <= 360_000, "as long as its request counts"


async def test_the_script_is_loaded_again_after_a_flush(valkey):
    rates = RateCounters(valkey)
    assert (await rates.take(RateClass.REQUESTS, "maya", RateLimit(10, 3600))).remaining == 9
    await valkey.call(lambda server: server.script_flush())
    assert (await rates.take(RateClass.REQUESTS, "maya", RateLimit(10, 3600))).remaining == 8


async def test_an_unavailable_valkey_raises(valkey):
    valkey._unavailable_until = math.inf
    with pytest.raises(ValkeyUnavailable):
        await RateCounters(valkey).take(RateClass.REQUESTS, "maya", RateLimit(1, 1))


@pytest.mark.parametrize("text", ["300", "0 per 60", "300 per 0", "many per day", "300 per 60 m", "-1 per 60"])
def test_an_invalid_limit_is_refused(text):
    with pytest.raises(Misconfigured):
        Settings.read({"GALLERY_RATE__STRANGER": text})
