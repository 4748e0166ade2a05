"""An issuer's keys, from a real server: found, rotated, withdrawn, and the issuer being away."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from doors import a_token, asking, shown
from gallery.access import issuer
from gallery.access.issuer import Issuer
from gallery.access.tokens import Tokens
from gallery.errors import CredentialNotValid, IssuerAway
from gallery.settings import Access
from publishing import Published, jwk, publishing

OLD = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEW = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
async def published(monkeypatch) -> AsyncIterator[Published]:
    monkeypatch.setattr(issuer, "PAUSE", 0.0)
    async with publishing() as told:
        told.keys(old=OLD)
        yield told


def tokens(published: Published) -> Tokens:
    return Tokens(Access(jwks_url=published.url), Issuer(published.url))


def old(**claims) -> str:
    return a_token(key=OLD, algorithm="RS256", **{"kid": "old", **claims})


def new(**claims) -> str:
    return a_token(key=NEW, algorithm="ES256", **{"kid": "new", **claims})


async def test_keys_are_read_once(published):
    told = tokens(published)
    await asyncio.gather(*(told.caller(old()) for _ in range(5)))
    await told.caller(old())
    assert published.asked <= 5, "all at once may each have looked"
    asked = published.asked
    for _ in range(5):
        await told.caller(old())
    assert published.asked == asked


async def test_a_new_key_is_found_and_a_withdrawn_one_forgotten(published, monkeypatch):
    told = tokens(published)
    await told.caller(old())
    with pytest.raises(CredentialNotValid):
        await told.caller(new())
    published.keys(old=OLD, new=NEW)
    assert (await told.caller(new())).owner == "maya"
    published.keys(new=NEW)
    monkeypatch.setattr(issuer, "FRESH", 0.0)
    async with asyncio.timeout(5):
        with pytest.raises(CredentialNotValid):
            while True:
                await told.caller(old())
                await asyncio.sleep(0.01)


async def test_whose_key_is_known_does_not_wait_for_a_slow_issuer(published, monkeypatch):
    told = tokens(published)
    await told.caller(old())
    monkeypatch.setattr(issuer, "FRESH", 0.0)
    published.pause = 1.0
    began = asyncio.get_running_loop().time()
    await told.caller(old())
    assert asyncio.get_running_loop().time() - began < 0.5


async def test_unknown_key_ids_cannot_make_us_ask_without_end(published, monkeypatch):
    monkeypatch.setattr(issuer, "PAUSE", 10.0)
    told = tokens(published)
    for number in range(20):
        with pytest.raises(CredentialNotValid):
            await told.caller(old(kid=f"made up {number}"))
    assert published.asked == 1


async def test_an_issuer_that_is_away_is_missed_only_by_tokens_that_need_it(published, monkeypatch):
    told = tokens(published)
    await told.caller(old())
    for published.status, published.body in [
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (302, b""),
        (200, b"x" * 10**6),
    ]:
        monkeypatch.setattr(issuer, "FRESH", 0.0)
        assert (await told.caller(old())).owner == "maya"
        with pytest.raises(IssuerAway):
            await told.caller(new())


async def test_keys_of_an_issuer_that_stays_away_are_not_believed_for_ever(published, monkeypatch):
    told = tokens(published)
    await told.caller(old())
    published.status = 500
    monkeypatch.setattr(issuer, "FRESH", 0.0)
    monkeypatch.setattr(issuer, "STALE", -1.0)
    with pytest.raises(IssuerAway):
        await told.caller(old())


async def test_only_keys_made_for_verifying_are_used(published):
    secret = {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "s", "alg": "HS256"}
    encrypting = {**jwk("old", OLD), "use": "enc"}
    other = {**jwk("ps", OLD), "alg": "PS256"}
    published.body = json.dumps(
        {"keys": [secret, encrypting, other, {"kty": "RSA"}, {}, {"kty": "EC", "crv": "x"}]}
    ).encode()
    told = tokens(published)
    for token in (old(), old(kid="ps"), a_token(key="secret" * 8, kid="s"), old(kid=None)):
        with pytest.raises(CredentialNotValid):
            await told.caller(token)


async def test_without_a_key_id_the_only_one_that_fits_is_taken(published):
    published.keys(old=OLD, new=NEW)
    told = tokens(published)
    assert (await told.caller(old(kid=None))).owner == "maya"
    assert (await told.caller(new(kid=None))).owner == "maya"
    published.keys(old=OLD, other=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    again = tokens(published)
    with pytest.raises(CredentialNotValid):
        await again.caller(old(kid=None))


async def test_over_http_an_issuer_that_is_away_is_unavailable(settings, published):
    async with asking(settings, jwks_url=published.url) as (_, client):
        assert (await client.get("/api/v1/images", headers=shown(old()))).status_code == 200
        published.status = 503
        answer = await client.get("/api/v1/images", headers=shown(new()))
        assert (answer.status_code, answer.json()["code"]) == (503, "issuer_away")
        assert "retry-after" in answer.headers
        assert (await client.get("/api/v1/images", headers=shown(old()))).status_code == 200
