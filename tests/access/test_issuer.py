"""An issuer's keys, from a real server: read, rotated, removed, and while the issuer is unavailable."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from credentials import bearer_headers, closed_application, make_token
from gallery.access import issuer
from gallery.access.issuer import JwksClient
from gallery.access.tokens import Tokens
from gallery.errors import CredentialNotValid, IssuerUnavailable
from gallery.settings import AccessSettings
from jwks_server import JwksDocument, jwk, serve_jwks

OLD = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NEW = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
async def published(monkeypatch) -> AsyncIterator[JwksDocument]:
    monkeypatch.setattr(issuer, "MIN_REFRESH_SECONDS", 0.0)
    async with serve_jwks() as document:
        document.set_keys(old=OLD)
        yield document


def tokens(published: JwksDocument) -> Tokens:
    return Tokens(AccessSettings(jwks_url=published.url), JwksClient(published.url))


def old(**claims) -> str:
    return make_token(key=OLD, algorithm="RS256", **{"kid": "old", **claims})


def new(**claims) -> str:
    return make_token(key=NEW, algorithm="ES256", **{"kid": "new", **claims})


async def test_keys_are_read_once(published):
    verifier = tokens(published)
    await asyncio.gather(*(verifier.authenticate(old()) for _ in range(5)))
    await verifier.authenticate(old())
    assert published.request_count <= 5, "each of five concurrent requests may have read them"
    count_before = published.request_count
    for _ in range(5):
        await verifier.authenticate(old())
    assert published.request_count == count_before


async def test_a_new_key_is_accepted_and_a_removed_one_refused(published, monkeypatch):
    verifier = tokens(published)
    await verifier.authenticate(old())
    with pytest.raises(CredentialNotValid):
        await verifier.authenticate(new())
    published.set_keys(old=OLD, new=NEW)
    assert (await verifier.authenticate(new())).owner == "maya"
    published.set_keys(new=NEW)
    monkeypatch.setattr(issuer, "REFRESH_AFTER_SECONDS", 0.0)
    async with asyncio.timeout(5):
        with pytest.raises(CredentialNotValid):
            while True:
                await verifier.authenticate(old())
                await asyncio.sleep(0.01)


async def test_a_token_of_a_cached_key_does_not_wait_for_a_slow_issuer(published, monkeypatch):
    verifier = tokens(published)
    await verifier.authenticate(old())
    monkeypatch.setattr(issuer, "REFRESH_AFTER_SECONDS", 0.0)
    published.pause = 1.0
    began = asyncio.get_running_loop().time()
    await verifier.authenticate(old())
    assert asyncio.get_running_loop().time() - began < 0.5


async def test_unknown_key_ids_do_not_cause_more_requests_to_the_issuer(published, monkeypatch):
    monkeypatch.setattr(issuer, "MIN_REFRESH_SECONDS", 10.0)
    verifier = tokens(published)
    for number in range(20):
        with pytest.raises(CredentialNotValid):
            await verifier.authenticate(old(kid=f"made up {number}"))
    assert published.request_count == 1


async def test_an_unavailable_issuer_affects_only_tokens_of_unknown_keys(published, monkeypatch):
    verifier = tokens(published)
    await verifier.authenticate(old())
    for published.status, published.body in [
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (302, b""),
        (200, b"x" * 10**6),
    ]:
        monkeypatch.setattr(issuer, "REFRESH_AFTER_SECONDS", 0.0)
        assert (await verifier.authenticate(old())).owner == "maya"
        with pytest.raises(IssuerUnavailable):
            await verifier.authenticate(new())


async def test_cached_keys_of_an_unavailable_issuer_expire(published, monkeypatch):
    verifier = tokens(published)
    await verifier.authenticate(old())
    published.status = 500
    monkeypatch.setattr(issuer, "REFRESH_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(issuer, "MAX_AGE_SECONDS", -1.0)
    with pytest.raises(IssuerUnavailable):
        await verifier.authenticate(old())


async def test_only_keys_made_for_verifying_are_used(published):
    secret = {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "s", "alg": "HS256"}
    encrypting = {**jwk("old", OLD), "use": "enc"}
    other = {**jwk("ps", OLD), "alg": "PS256"}
    published.body = json.dumps(
        {"keys": [secret, encrypting, other, {"kty": "RSA"}, {}, {"kty": "EC", "crv": "x"}]}
    ).encode()
    verifier = tokens(published)
    for token in (old(), old(kid="ps"), make_token(key="secret" * 8, kid="s"), old(kid=None)):
        with pytest.raises(CredentialNotValid):
            await verifier.authenticate(token)


async def test_without_a_key_id_the_only_matching_key_is_used(published):
    published.set_keys(old=OLD, new=NEW)
    verifier = tokens(published)
    assert (await verifier.authenticate(old(kid=None))).owner == "maya"
    assert (await verifier.authenticate(new(kid=None))).owner == "maya"
    published.set_keys(old=OLD, other=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    again = tokens(published)
    with pytest.raises(CredentialNotValid):
        await again.authenticate(old(kid=None))


async def test_over_http_an_unavailable_issuer_gives_503(settings, published):
    async with closed_application(settings, jwks_url=published.url) as (_, client):
        assert (await client.get("/api/v1/images", headers=bearer_headers(old()))).status_code == 200
        published.status = 503
        answer = await client.get("/api/v1/images", headers=bearer_headers(new()))
        assert (answer.status_code, answer.json()["code"]) == (503, "issuer_away")
        assert "retry-after" in answer.headers
        assert (await client.get("/api/v1/images", headers=bearer_headers(old()))).status_code == 200
