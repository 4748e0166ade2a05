"""Kept responses stay while their caller's keys are found valid again, and no longer."""

import asyncio
import math
import time
from collections import Counter

import httpx
import prometheus_client
import pytest

import gallery_processes
from conftest import running_application, wait_until_caught_up
from credentials import JWT_SECRET, bearer_headers, create_api_key, make_token, with_authentication
from factories import post
from gallery.access import key_checks, keys, link_keys, service, signing, store
from gallery.access.key_checks import CACHE_SECONDS, KeyReads
from gallery.access.model import Caller, CredentialKind, Owner
from gallery.access.service import Access
from gallery.errors import DatabaseUnavailable

LIST = "/api/v1/images"
CLOSED = {"GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, "GALLERY_RATE__ENABLED": "false"}


@pytest.fixture
async def closed(environment):
    """An application that requires credentials, and a client without any."""
    async with running_application(environment, **CLOSED) as (gallery, client):
        await wait_until_caught_up(gallery)
        yield gallery, client


@pytest.fixture
def queries(monkeypatch):
    """How often each kind of key was read."""
    counted = Counter()

    def count(name):
        function = getattr(store, name)

        async def counting(*given):
            counted[name] += 1
            return await function(*given)

        monkeypatch.setattr(store, name, counting)

    for name in ("find", "signing_keys", "valid_link_keys"):
        count(name)
    return counted


@pytest.fixture
def short_checks(monkeypatch):
    """A check holds for a second, and is renewed from 0.2 s on."""
    monkeypatch.setattr(key_checks, "RENEW_SECONDS", 0.2)
    for module in (keys, signing, link_keys):
        monkeypatch.setattr(module, "CACHE_SECONDS", 1.0)


def results():
    """The look-ups of lists so far, by result."""
    samples = {name: {"kind": "list", "result": name} for name in ("memory", "hit", "miss")}
    found = {
        name: prometheus_client.REGISTRY.get_sample_value("gallery_cache_lookups_total", labels) or 0
        for name, labels in samples.items()
    }
    return Counter(found)


async def session_of(client):
    """The header of a browser's session."""
    session = await client.post("/api/v1/session", headers=bearer_headers(make_token("maya")))
    client.cookies.clear()
    return {"Cookie": session.headers["set-cookie"].partition(";")[0]}


async def headers_of(kind, gallery, client):
    if kind == "session":
        return await session_of(client)
    return bearer_headers((await create_api_key(gallery, "maya"))[1])


@pytest.mark.parametrize("kind", ["key", "session"])
async def test_while_a_key_is_in_use_its_responses_stay_and_no_request_waits(closed, queries, short_checks, kind):
    gallery, client = closed
    headers = await headers_of(kind, gallery, client)
    await client.get(LIST, headers=headers)
    before, began = results(), time.monotonic()
    queries.clear()
    for _ in range(30):
        await asyncio.sleep(0.05)
        assert (await client.get(LIST, headers=headers)).status_code == 200
    assert results() - before == {"memory": 30}
    assert 3 <= sum(queries.values()) <= (time.monotonic() - began) / key_checks.RENEW_SECONDS


@pytest.mark.parametrize("kind", ["key", "session"])
async def test_after_a_pause_the_key_alone_is_checked_again(closed, queries, short_checks, kind):
    gallery, client = closed
    headers = await headers_of(kind, gallery, client)
    await client.get(LIST, headers=headers)
    await asyncio.sleep(1.1)
    before = results()
    queries.clear()
    answers = await asyncio.gather(*(client.get(LIST, headers=headers) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert results() - before == {"memory": 10}
    assert sum(queries.values()) == 1


async def test_a_request_that_is_not_repeated_renews_the_check_too(gallery, queries, short_checks):
    _, text = await create_api_key(gallery, "maya")
    await gallery.access.keys.authenticate(text)
    await asyncio.sleep(0.3)
    await gallery.access.keys.authenticate(text)
    assert queries["find"] == 1, "it did not wait"
    await asyncio.sleep(0.1)
    assert queries["find"] == 2


async def test_a_response_for_a_token_stays_where_its_key_is_a_setting(closed, monkeypatch):
    monkeypatch.setattr(service, "REVOCATION_CHECK_SECONDS", 0.1)
    _, client = closed
    headers = bearer_headers(make_token("maya"))
    await client.get(LIST, headers=headers)
    await asyncio.sleep(0.3)
    before = results()
    assert (await client.get(LIST, headers=headers)).status_code == 200
    assert results() - before == {"memory": 1}


def test_a_response_for_a_token_of_an_issuer_is_kept_for_two_seconds(gallery, settings):
    caller = Caller(owner=Owner("maya"), kind=CredentialKind.TOKEN)
    with_issuer = Access(with_authentication(settings, jwks_url="https://issuer.example/keys"), gallery.database)
    assert with_issuer.valid_until(caller, 5.0) == 7.0
    assert gallery.access.valid_until(caller, 5.0) == math.inf


async def test_a_key_that_is_not_used_is_not_checked(closed, queries, short_checks):
    gallery, client = closed
    await client.get(LIST, headers=await headers_of("key", gallery, client))
    queries.clear()
    await asyncio.sleep(1.2)
    assert not queries


async def test_the_pictures_of_a_link_stay_while_its_key_is_in_use(closed, queries, short_checks):
    gallery, client = closed
    maya = bearer_headers(make_token("maya"))
    image = (await post(client, headers=maya)).json()["id"]
    links = await client.post(f"{LIST}/{image}/links", headers=maya, json={"expiresIn": 60})
    url = links.json()["original"]
    await client.get(url)
    queries.clear()
    for _ in range(20):
        await asyncio.sleep(0.05)
        assert (await client.get(url)).status_code == 200
    assert queries["signing_keys"] >= 2
    await gallery.access.signatures.rotate(at_once=True)
    assert (await client.get(url)).status_code == 403


async def test_signed_urls_stay_until_another_key_signs(closed, short_checks):
    gallery, client = closed
    headers = bearer_headers(make_token("maya"))
    await post(client, headers=headers)
    path = f"{LIST}?signed=true"
    first = (await client.get(path, headers=headers)).json()
    before = results()
    for _ in range(30):
        await asyncio.sleep(0.05)
        assert (await client.get(path, headers=headers)).json() == first
    await asyncio.sleep(1.1)
    assert (await client.get(path, headers=headers)).json() == first
    assert results() - before == {"memory": 31}
    await gallery.access.signatures.rotate()
    assert (await client.get(path, headers=headers)).json()[0]["original"] != first[0]["original"]


async def test_signed_urls_end_with_the_check_when_another_process_rotates(closed, short_checks, settings):
    gallery, client = closed
    headers = bearer_headers(make_token("maya"))
    await post(client, headers=headers)
    path = f"{LIST}?signed=true"
    first = (await client.get(path, headers=headers)).json()
    await Access(settings, gallery.database).signatures.rotate()
    await asyncio.sleep(1.1)
    assert (await client.get(path, headers=headers)).json()[0]["original"] != first[0]["original"]


@pytest.mark.parametrize("in_use", [True, False])
async def test_a_key_that_is_revoked_is_refused_before_its_check_has_run_out(closed, short_checks, in_use):
    gallery, client = closed
    key, text = await create_api_key(gallery, "maya")
    headers = bearer_headers(text)
    await client.get(LIST, headers=headers)
    await gallery.access.keys.revoke(key)
    revoked = sent = time.monotonic()
    if not in_use:
        await asyncio.sleep(1.0)
    async with asyncio.timeout(5):
        while (await client.get(LIST, headers=headers)).status_code == 200:
            assert sent - revoked < 1.0
            await asyncio.sleep(0.02)
            sent = time.monotonic()
    assert (await client.get(LIST, headers=headers)).json()["code"] == "credential_not_valid"


async def test_without_the_database_a_response_is_repeated_until_its_check_has_run_out(
    closed, short_checks, monkeypatch
):
    gallery, client = closed
    _, text = await create_api_key(gallery, "maya")
    headers = bearer_headers(text)
    await client.get(LIST, headers=headers)

    async def fail(*_):
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(store, "find", fail)
        await asyncio.sleep(0.3)
        assert (await client.get(LIST, headers=headers)).status_code == 200
        await asyncio.sleep(0.8)
        assert (await client.get(LIST, headers=headers)).status_code == 503
    before = results()
    assert (await client.get(LIST, headers=headers)).status_code == 200
    assert results() - before == {"memory": 1}


async def test_two_processes_refuse_a_key_within_two_seconds_of_its_revocation(gallery, environment, tmp_path):
    """Each has responses for it in memory, and is asked for them all the time."""
    key, text = await create_api_key(gallery, "maya")
    headers = bearer_headers(text)
    async with (
        gallery_processes.api(environment, tmp_path / "one", **CLOSED) as one,
        gallery_processes.api(environment, tmp_path / "two", **CLOSED) as two,
        httpx.AsyncClient(base_url=one.url, timeout=30, headers=headers) as maya,
        httpx.AsyncClient(base_url=two.url, timeout=30, headers=headers) as noor,
    ):
        until = time.monotonic() + CACHE_SECONDS + 0.5
        while time.monotonic() < until:
            assert [(await client.get(LIST)).status_code for client in (maya, noor)] == [200, 200]
            await asyncio.sleep(0.02)
        await gallery.access.keys.revoke(key)
        revoked = time.monotonic()
        for client in (maya, noor):
            sent = revoked
            while (await client.get(LIST)).status_code == 200:
                assert sent - revoked < CACHE_SECONDS
                await asyncio.sleep(0.02)
                sent = time.monotonic()


async def test_a_read_from_before_a_rotation_brings_no_dropped_key_back(gallery, monkeypatch):
    signatures, read = gallery.access.signatures, store.signing_keys
    dropped = (await signatures.current_key()).id
    may_end = asyncio.Event()

    async def read_slowly(*given):
        found = await read(*given)
        await may_end.wait()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(signing, "CACHE_SECONDS", 0.0)
        patch.setattr(store, "signing_keys", read_slowly)
        reading = asyncio.create_task(signatures.current_key())
        await asyncio.sleep(0.1)
    await signatures.rotate(at_once=True)
    may_end.set()
    await reading
    assert not await signatures.is_valid(dropped)


async def test_a_reader_that_leaves_takes_the_result_from_no_other():
    reads, may_end = KeyReads(), asyncio.Event()
    started = 0

    async def read():
        nonlocal started
        started += 1
        await may_end.wait()
        return "lake"

    readers = [asyncio.create_task(reads.read("key", read)) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    may_end.set()
    assert (await asyncio.gather(*readers, return_exceptions=True))[1:] == ["lake", "lake"]
    assert started == 1
    await reads.read("key", read)
    assert started == 2
