"""Guessed credentials: each costs its address a request, and the server almost nothing."""

import asyncio
import math
import secrets
import time
from collections import Counter

import httpx
import pytest

import photos
from conftest import running_application
from credentials import (
    JWT_SECRET,
    READ_WRITE_SCOPES,
    bearer_headers,
    create_api_key,
    create_upload_ticket,
    make_token,
    upload_headers,
)
from factories import post
from gallery.access import keys, store
from gallery.access.sessions import Sessions
from gallery.access.tokens import Tokens
from gallery.access.upload_tickets import UploadTickets
from gallery.adapters.valkey.rates import RateCounters

LIST = "/api/v1/images"
UNKNOWN = f"{LIST}/01990000-0000-7000-8000-000000000000"


def hourly_limit(requests: int, **more: str) -> dict[str, str]:
    given = {"GALLERY_RATE__ENABLED": "true", "GALLERY_RATE__STRANGER": f"{requests} per 3600"}
    given |= {
        "GALLERY_REDIS__TIMEOUT": "30"
    }  # on a busy machine nothing would be limited after the default of a second
    return {**given, "GALLERY_ACCESS__OPEN": "false", "GALLERY_ACCESS__JWT_SECRET": JWT_SECRET, **more}


def an_unknown_key() -> str:
    return f"gk_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


@pytest.fixture
def call_counts(monkeypatch) -> Counter[str]:
    """The numbers of verified credentials and of calls to Valkey."""
    counted: Counter[str] = Counter()

    def count(owner, name):
        function = getattr(owner, name)

        async def counting(*given):
            counted[name] += 1
            return await function(*given)

        monkeypatch.setattr(owner, name, counting)

    for owner, name in (
        (store, "find"),
        (Tokens, "authenticate"),
        (UploadTickets, "authenticate"),
        (Sessions, "verify_session"),
        (RateCounters, "_run"),
    ):
        count(owner, name)
    return counted


async def ask(client: httpx.AsyncClient, *credentials: dict[str, str], path: str = LIST) -> Counter[int]:
    answers = await asyncio.gather(*(client.get(path, headers=headers) for headers in credentials))
    return Counter(answer.status_code for answer in answers)


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key"])
async def test_a_flood_of_guessed_keys_costs_as_many_queries_as_an_address_has_requests(
    environment, call_counts, header
):
    async with running_application(environment, **hourly_limit(5)) as (_, client):
        prefix = "Bearer " if header == "Authorization" else ""
        guesses = [{header: prefix + an_unknown_key()} for _ in range(200)]
        assert await ask(client, *guesses) == {401: 5, 429: 195}
        assert call_counts["find"] == 5
        assert await ask(client, *guesses) == {429: 200}
        assert (call_counts["find"], call_counts["_run"]) == (5, 400)


async def test_a_flood_of_guessed_tokens_and_cookies_is_not_verified(environment, call_counts):
    async with running_application(environment, **hourly_limit(4)) as (_, client):
        assert await ask(client, *(bearer_headers(make_token(key=f"{JWT_SECRET}{n}")) for n in range(50))) == {
            401: 4,
            429: 46,
        }
        assert await ask(client, *({"Cookie": f"gallery_session=a.b.{n}"} for n in range(50))) == {429: 50}
        assert (call_counts["authenticate"], call_counts["verify_session"]) == (4, 0)


async def test_a_flood_of_guessed_upload_tickets_is_not_verified(environment, call_counts):
    async with running_application(environment, **hourly_limit(4)) as (_, client):
        guesses = [upload_headers(f"gt_{secrets.token_hex(16)}_{secrets.token_urlsafe(32)}") for _ in range(50)]
        assert await ask(client, *guesses) == {401: 4, 429: 46}
        assert call_counts["authenticate"] == 4


async def test_the_requests_of_a_ticket_count_under_its_own_name(environment):
    """Its creator has as many requests left as before, and its browser's address too."""
    async with running_application(environment, **hourly_limit(2), GALLERY_RATE__KEY_FACTOR="2") as (_, client):
        creator = bearer_headers(make_token("maya", READ_WRITE_SCOPES))
        tickets = [(await create_upload_ticket(client, creator))["ticket"] for _ in range(2)]
        for ticket in tickets:
            assert await ask(client, *[upload_headers(ticket)] * 6) == {200: 4, 429: 2}
        assert await ask(client, *[creator] * 6) == {200: 4, 429: 2}


async def test_a_guess_on_any_route_counts_as_a_request(environment):
    given = hourly_limit(3, GALLERY_RATE__UPLOADS="9 per 3600", GALLERY_RATE__RENDITIONS="9 per 3600")
    async with running_application(environment, **given) as (_, client):
        for method, path in (("POST", LIST), ("GET", f"{UNKNOWN}/original"), ("DELETE", UNKNOWN)):
            answer = await client.request(method, path, headers=bearer_headers(an_unknown_key()))
            assert (answer.status_code, answer.headers["ratelimit-policy"]) == (401, '"requests";q=3;w=3600')
        assert await ask(client, bearer_headers(an_unknown_key()), path=f"{UNKNOWN}/320.webp") == {429: 1}
        answer = await client.get(f"{UNKNOWN}/320.webp")
        assert (answer.status_code, answer.headers["ratelimit"]) == (401, '"renditions";r=8;t=400')


async def test_an_address_that_has_guessed_too_often_does_not_learn_which_key_is_right(environment):
    async with running_application(environment, **hourly_limit(5)) as (application, client):
        (_, known), (_, right) = await create_api_key(application, "maya"), await create_api_key(application, "noor")
        session = (
            (await client.post("/api/v1/session", headers=bearer_headers(known))).headers["set-cookie"].split(";")[0]
        )
        client.cookies.clear()
        assert await ask(client, {"Cookie": session}) == {200: 1}
        assert await ask(client, *(bearer_headers(an_unknown_key()) for _ in range(6))) == {401: 5, 429: 1}
        for credential in (right, make_token("noor"), right[:-1] + "-"):
            assert await ask(client, bearer_headers(credential)) == {429: 1}
        assert await ask(client, {}, path="/api/v1/notifications/stream?ticket=a.b.c") == {429: 1}
        assert await ask(client, bearer_headers(known), {"X-Api-Key": known}, {"Cookie": session}) == {200: 3}


async def test_a_valid_credential_costs_its_address_nothing(environment, call_counts):
    async with running_application(environment, **hourly_limit(3)) as (application, client):
        credentials = [
            bearer_headers(text) for _, text in [await create_api_key(application, f"owner {n}") for n in range(5)]
        ]
        credentials += [bearer_headers(make_token(f"owner {n}")) for n in range(5)]
        for headers in credentials:
            answer = await client.get(LIST, headers=headers)
            assert (answer.status_code, answer.headers["ratelimit-policy"]) == (200, '"requests";q=30;w=3600')
        call_counts.clear()
        assert await ask(client, *credentials * 2) == {200: 20}
        assert call_counts["_run"] == 10, "one call to Valkey for each request of a verified caller"
        assert (await client.get(LIST)).headers["ratelimit"] == '"requests";r=2;t=1200'


async def test_an_expired_credential_is_verified_once_more_and_then_counts_as_a_guess(
    environment, monkeypatch, call_counts
):
    monkeypatch.setattr(keys, "CACHE_SECONDS", 0.0)
    async with running_application(environment, **hourly_limit(2), GALLERY_ACCESS__CLOCK_SKEW="0") as (
        application,
        client,
    ):
        key, text = await create_api_key(application)
        expires_at = math.ceil(time.time()) + 2
        short = make_token("noor", exp=expires_at)
        assert await ask(client, bearer_headers(text), bearer_headers(short)) == {200: 2}
        await application.access.keys.revoke(key)
        await asyncio.sleep(expires_at + 0.1 - time.time())
        assert await ask(client, bearer_headers(text), bearer_headers(short)) == {401: 2}
        call_counts.clear()
        assert await ask(client, bearer_headers(text), bearer_headers(short)) == {429: 2}
        assert (call_counts["find"], call_counts["authenticate"]) == (0, 0)


async def test_a_credential_is_verified_once_per_request(environment, call_counts):
    async with running_application(environment, **hourly_limit(9)) as (_, client):
        await ask(client, bearer_headers(make_token(key="x" * 32)), {"Cookie": "gallery_session=x"})
        assert (call_counts["authenticate"], call_counts["verify_session"]) == (1, 1)


async def test_in_open_mode_an_old_cookie_counts_as_no_credential(environment):
    given = hourly_limit(9, GALLERY_RATE__UPLOADS="2 per 3600", GALLERY_ACCESS__OPEN="true")
    async with running_application(environment, **given) as (_, client):
        stale = {"Cookie": "gallery_session=x.y.z"}
        answers = [await post(client, photos.a_jpeg(seed=n), headers=stale) for n in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"uploads";q=2;w=3600'}
        assert (await client.get(LIST)).headers["ratelimit"] == '"requests";r=8;t=400'


async def test_a_flood_of_guesses_evicts_no_key_from_the_cache(gallery, monkeypatch, call_counts):
    monkeypatch.setattr(keys, "MAX_CACHED_MISSING", 3)
    monkeypatch.setattr(keys, "CACHE_SECONDS", 3600.0)
    _, text = await create_api_key(gallery)
    assert (await gallery.access.keys.authenticate(text)).owner == "maya"
    for key in [f"{n:016x}" for n in range(10)]:
        assert not await gallery.access.keys.is_valid(key)
    assert call_counts["find"] == 11
    for key in ("0000000000000009", "0000000000000008", "0000000000000007"):
        assert not await gallery.access.keys.is_valid(key)
    assert (await gallery.access.keys.authenticate(text)).scopes == set(READ_WRITE_SCOPES.split())
    assert call_counts["find"] == 11
