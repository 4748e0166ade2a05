"""Responses from memory count like all others: exactly, over all processes, in the caller's own limit."""

import asyncio
import math
from collections import Counter

import httpx
import prometheus_client
import pytest

import gallery_processes
from conftest import running_application
from credentials import JWT_SECRET, create_api_key, make_token
from factories import CALLER, upload_image
from gallery.adapters.valkey.rates import RateCounters
from gallery.images.model import Edit

LIST = "/api/v1/images"
CLOSED = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET}


def limits(requests: int, **more: str) -> dict[str, str]:
    """A period so long that no request is regained, and a Valkey that may be slow."""
    return {
        "GALLERY_RATE__ENABLED": "true",
        "GALLERY_RATE__STRANGER": f"{requests} per 36000",
        "GALLERY_REDIS__TIMEOUT": "30",
        **more,
    }


def memory_hits() -> float:
    samples = ({"kind": kind, "result": "memory"} for kind in ("image", "list", "picture"))
    return sum(prometheus_client.REGISTRY.get_sample_value("gallery_cache_lookups_total", s) or 0 for s in samples)


async def wait_until_caught_up(gallery) -> None:
    async with asyncio.timeout(10):
        while not gallery.change_tokens.caught_up:
            await asyncio.sleep(0.02)


@pytest.fixture
def valkey_calls(monkeypatch) -> list[str]:
    """The clients that were counted in Valkey."""
    calls: list[str] = []
    run = RateCounters._run

    async def counting(counters, script, rate_class, client, *given):
        calls.append(client)
        return await run(counters, script, rate_class, client, *given)

    monkeypatch.setattr(RateCounters, "_run", counting)
    return calls


async def get_statuses(client, path, number, **headers) -> Counter[int]:
    answers = await asyncio.gather(*(client.get(path, headers=headers) for _ in range(number)))
    return Counter(answer.status_code for answer in answers)


async def test_hits_are_counted_and_refused_like_all_others(environment):
    async with running_application(environment, **limits(40)) as (gallery, client):
        await wait_until_caught_up(gallery)
        image = await upload_image(gallery)
        before = memory_hits()
        for number in range(1, 41):
            answer = await client.get(f"{LIST}/{image.id}", headers={"X-Request-Id": f"request {number}"})
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"requests";q=40;w=36000'
            assert answer.headers["ratelimit"].startswith(f'"requests";r={40 - number};t=')
        assert memory_hits() - before == 39
        refused = await client.get(f"{LIST}/{image.id}", headers={"X-Request-Id": "mine"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert refused.headers["x-request-id"] == refused.json()["requestId"] == "mine"
        assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert 890 <= int(refused.headers["retry-after"]) <= 900
        assert (await client.head(f"{LIST}/{image.id}")).status_code == 429
        assert (await client.get(f"{LIST}/{image.id}/original")).status_code == 200, "of a limit of its own"


async def test_two_processes_repeat_exactly_two_hundred_responses(environment, tmp_path):
    async with (
        gallery_processes.api(environment, tmp_path / "one", **limits(200)) as one,
        gallery_processes.api(environment, tmp_path / "two", **limits(200)) as two,
        httpx.AsyncClient(base_url=one.url, timeout=30) as maya,
        httpx.AsyncClient(base_url=two.url, timeout=30) as noor,
    ):
        found = Counter()
        for _ in range(15):
            found += sum(await asyncio.gather(get_statuses(maya, LIST, 10), get_statuses(noor, LIST, 10)), Counter())
        assert found == {200: 200, 429: 100}


async def test_a_busy_key_costs_a_call_now_and_then(environment, valkey_calls):
    async with running_application(environment, **limits(1_000_000), **CLOSED) as (gallery, client):
        await wait_until_caught_up(gallery)
        key, text = await create_api_key(gallery, "maya")
        client.headers["Authorization"] = f"Bearer {text}"
        before = memory_hits()
        for _ in range(60):
            assert await get_statuses(client, LIST, 5) == {200: 5}
        assert memory_hits() - before > 250
        assert valkey_calls.count(f"key:{key}") < 60
        assert valkey_calls.count("127.0.0.1") == 2, "the first request: a guess, and its refund"


async def test_each_key_has_a_limit_of_its_own_also_in_memory(environment):
    given = limits(2, **CLOSED, GALLERY_RATE__KEY_FACTOR="3")
    async with running_application(environment, **given) as (gallery, client):
        await wait_until_caught_up(gallery)
        for owner in ("maya", "noor"):
            headers = {"Authorization": f"Bearer {make_token(owner)}"}
            assert await get_statuses(client, LIST, 8, **headers) == {200: 6, 429: 2}
        assert await get_statuses(client, LIST, 3) == {401: 2, 429: 1}
        assert await get_statuses(client, LIST, 2, **headers) == {429: 2}


async def test_addresses_behind_a_proxy_share_a_response_and_no_limit(environment):
    given = limits(5, GALLERY_PROXIES="127.0.0.1", GALLERY_ACCESS__OPEN="true")
    async with running_application(environment, **given) as (gallery, client):
        await wait_until_caught_up(gallery)
        before = memory_hits()
        for address in ("192.0.2.1", "192.0.2.2"):
            for status in [200] * 5 + [429] * 2:
                assert (await client.get(LIST, headers={"X-Forwarded-For": address})).status_code == status
        assert memory_hits() - before == 9


async def test_the_same_bytes_count_for_the_address_that_they_come_from(environment):
    request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % LIST.encode()
    async with running_application(environment, **limits(20)) as (gallery, client):
        await wait_until_caught_up(gallery)
        before = memory_hits()
        for number in range(1, 6):
            for address in ("127.0.0.2", "127.0.0.3"):
                port = client.base_url.port
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                writer.close()
                assert b'\r\nratelimit: "requests";r=%d;t=' % (20 - number) in head, address
        assert memory_hits() - before == 9


async def test_a_response_that_changes_while_valkey_is_asked_is_not_repeated(environment, monkeypatch):
    async with running_application(environment, **limits(1000)) as (gallery, client):
        await wait_until_caught_up(gallery)
        image = await upload_image(gallery, title="Lake")
        run, images = RateCounters._run, gallery.images
        changing = False

        async def change_meanwhile(counters, *given):
            if changing:
                await images.edit(CALLER, image.id, Edit(title="Dawn"))
            return await run(counters, *given)

        monkeypatch.setattr(RateCounters, "_run", change_meanwhile)
        for _ in range(2):
            assert (await client.get(f"{LIST}/{image.id}")).json()["title"] == "Lake"
        await gallery.rates.close()
        changing = True
        answer = await client.get(f"{LIST}/{image.id}")
        assert answer.json()["title"] == "Dawn"
        assert answer.headers["ratelimit"].startswith('"requests";r=997'), "counted once"


async def test_without_valkey_hits_are_not_limited(environment):
    async with running_application(environment, **limits(3)) as (gallery, client):
        await wait_until_caught_up(gallery)
        assert await get_statuses(client, LIST, 2) == {200: 2}
        gallery.valkey._unavailable_until = math.inf
        before = memory_hits()
        assert await get_statuses(client, LIST, 9) == {200: 9}
        assert memory_hits() - before == 9
        gallery.valkey._unavailable_until = 0.0
        assert await get_statuses(client, LIST, 2) == {200: 1, 429: 1}


async def test_without_valkey_hits_are_refused_when_configured(environment):
    given = limits(1000, GALLERY_RATE__WHEN_VALKEY_IS_AWAY="closed")
    async with running_application(environment, **given) as (gallery, client):
        await wait_until_caught_up(gallery)
        assert await get_statuses(client, LIST, 2) == {200: 2}
        gallery.valkey._unavailable_until = math.inf
        left = sum(portion.left for portion in gallery.rates._portions.values())
        assert set(await get_statuses(client, LIST, left + 5)) <= {200, 503}
        answer = await client.get(LIST)
        assert (answer.status_code, answer.json()["code"]) == (503, "valkey_away")
        gallery.valkey._unavailable_until = 0.0
        assert await get_statuses(client, LIST, 2) == {200: 2}


async def test_a_process_that_stops_gives_its_portions_back(environment):
    for expected in (99, 88):
        async with running_application(environment, **limits(100)) as (_, client):
            first = await client.get(LIST)
            assert first.headers["ratelimit"].startswith(f'"requests";r={expected};')
            assert await get_statuses(client, LIST, 10) == {200: 10}


async def test_after_a_flush_of_valkey_all_limits_are_new(environment):
    async with running_application(environment, **limits(10)) as (gallery, client):
        assert await get_statuses(client, LIST, 12) == {200: 10, 429: 2}
        await gallery.valkey.call(lambda server: server.flushdb())
        assert await get_statuses(client, LIST, 12) == {200: 10, 429: 2}
