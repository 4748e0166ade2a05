"""Tokens as identity providers issue them: settings and payloads of docs/identity-providers.md, as they stand there.

The keys are made here, and published over HTTP as a provider does.
"""

import json
import re
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from credentials import bearer_headers, closed_application, make_token
from gallery import errors
from gallery.access import issuer
from gallery.access.claims import find_claim
from gallery.access.tokens import Tokens
from gallery.settings import AccessSettings, Settings
from jwks_server import jwk, serve_jwks

PAGE = (Path(__file__).parents[2] / "docs" / "identity-providers.md").read_text()
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
BOTH = ["images:read", "images:write"]
PROVIDERS = {
    "Auth0": ("RS256", "auth0|65b7a3f0c1d2e3f405162738"),
    "Clerk": ("RS256", "user_2abcDEFghiJKLmnoPQRstuVWxyz"),
    "Supabase": ("ES256", "9f1c6a1e-6a0b-4d35-9d9c-0d7d1f7f0b5a"),
    "Firebase": ("RS256", "Xb2pQ0aYt3VQyT9aK1uWf5mZl0r2"),
    "Keycloak": ("RS256", "5b7e0c3a-8d0c-4a43-9f55-1c7a7f6c2f10"),
}


def section(provider: str) -> tuple[dict[str, str], dict]:
    """The settings and the payload of a provider's section."""
    text = PAGE.partition(f"\n## {provider}\n")[2].partition("\n## ")[0]
    settings = re.findall(r"^export (\w+)='?([^'\n]*)'?$", text, re.MULTILINE)
    return dict(settings), json.loads(text.partition("```json\n")[2].partition("```")[0])


def access(given: dict[str, str], jwks_url: str, **others: str) -> dict:
    """As fields of the settings' branch `access`."""
    variables = {**given, "GALLERY_ACCESS__JWKS_URL": jwks_url, **others}
    read = Settings.read(variables).access
    return {name: value for name in read.__struct_fields__ if (value := getattr(read, name)) is not None} | {
        "open": False
    }


def signed(claims: dict, algorithm: str, **changed: object) -> str:
    """The payload of now, by the provider's key."""
    now = int(time.time())
    times = {"iat": now - 60, "exp": now + 600, **({"nbf": now - 70} if "nbf" in claims else {})}
    key = EC_KEY if algorithm == "ES256" else RSA_KEY
    merged = {"sub": None, "scope": None, **claims, **times, **changed}
    return make_token(merged.pop("sub"), merged.pop("scope"), key=key, algorithm=algorithm, kid="now", **merged)


@pytest.fixture
async def published(monkeypatch):
    """A provider's document, with all that such documents have."""
    monkeypatch.setattr(issuer, "MIN_REFRESH_SECONDS", 0.0)
    async with serve_jwks() as document:
        encrypting = {**jwk("enc", RSA_KEY), "use": "enc", "alg": "RSA-OAEP"}
        keys = [
            encrypting,
            {**jwk("now", RSA_KEY), "alg": "RS256", "x5t": "abc"},
            {**jwk("now", EC_KEY), "alg": "ES256"},
        ]
        document.body = json.dumps({"keys": keys}).encode()
        yield document


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_providers_token_is_accepted_with_the_settings_of_its_section(settings, published, provider):
    algorithm, owner = PROVIDERS[provider]
    given, claims = section(provider)
    async with closed_application(settings, **access(given, published.url)) as (_, client):
        answer = await client.post("/api/v1/session", headers=bearer_headers(signed(claims, algorithm)))
        assert answer.status_code == 201, answer.text
        assert (answer.json()["owner"], answer.json()["scopes"]) == (owner, BOTH)
        answer = await client.get("/api/v1/images", headers=bearer_headers(signed(claims, algorithm)))
        assert answer.status_code == 200


@pytest.mark.parametrize("provider", ["Auth0", "Clerk"])  # with and without an audience
async def test_each_failed_check_has_its_code(settings, published, provider):
    algorithm, _ = PROVIDERS[provider]
    given, claims = section(provider)
    now = int(time.time())
    wrong: dict[str, dict] = {
        "token_expired": {"exp": now - 60},
        "token_not_yet_valid": {"iat": now + 120},
        "token_claim_missing": {"sub": None},
        "token_claim_invalid": {"exp": "soon"},
        "token_issuer_wrong": {"iss": "https://other.example.org"},
        "token_audience_wrong" if "aud" in claims else "token_audience_not_set": {"aud": "another"},
    }
    async with closed_application(settings, **access(given, published.url)) as (_, client):
        for code, changed in wrong.items():
            answer = await client.get("/api/v1/images", headers=bearer_headers(signed(claims, algorithm, **changed)))
            assert (answer.status_code, answer.json()["code"]) == (401, code)
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
            assert f'error_description="{answer.json()["detail"]}"' in answer.headers["www-authenticate"]


async def test_a_bad_signature_gives_the_same_error_for_all_keys_and_claims(settings, published):
    """The error is the same for each key id and all claims."""
    given, claims = section("Auth0")
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    bodies = [claims, {**claims, "exp": 1}, {**claims, "aud": "x"}, {"iss": 5}, {}]
    async with closed_application(settings, **access(given, published.url)) as (_, client):
        responses = set()
        for kid in ("now", "enc", "unknown", None):
            for body in bodies:
                text = {"sub": None, "scope": None, **body}
                token = make_token(text.pop("sub"), text.pop("scope"), key=other, algorithm="RS256", kid=kid, **text)
                answer = await client.get("/api/v1/images", headers=bearer_headers(token))
                responses.add((answer.status_code, answer.json()["code"], answer.json()["detail"]))
        assert {code for _, code, _ in responses} == {"token_signature_invalid"}
        assert len(responses) == 1


async def test_without_an_audience_a_supabase_token_gets_an_error_that_names_the_setting(settings, published):
    given, claims = section("Supabase")
    del given["GALLERY_ACCESS__JWT_AUDIENCE"]
    async with closed_application(settings, **access(given, published.url)) as (_, client):
        answer = await client.get("/api/v1/images", headers=bearer_headers(signed(claims, "ES256")))
        assert answer.json()["code"] == "token_audience_not_set"
        assert "GALLERY_ACCESS__JWT_AUDIENCE" in answer.json()["detail"]


async def test_without_default_scopes_a_token_without_scopes_gets_an_error_that_names_the_scope(settings, published):
    given, claims = section("Clerk")
    del given["GALLERY_ACCESS__JWT_DEFAULT_SCOPES"]
    async with closed_application(settings, **access(given, published.url)) as (_, client):
        answer = await client.get("/api/v1/images", headers=bearer_headers(signed(claims, "RS256")))
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
        assert "images:read" in answer.json()["detail"]


async def test_a_token_with_the_claim_has_its_scopes_and_no_default_ones(settings, published):
    given, claims = section("Clerk")
    async with closed_application(settings, **access(given, published.url)) as (_, client):
        for scope, found in (("images:read", ["images:read"]), ([], []), ("", [])):
            token = signed(claims, "RS256", scope=scope)
            answer = await client.post("/api/v1/session", headers=bearer_headers(token))
            assert answer.json()["scopes"] == found


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("permissions", {"permissions": ["images:read", "images:write"]}),
        ("https://example.org/scopes", {"https://example.org/scopes": "images:write images:read"}),
        ("resource_access.my.app.roles", {"resource_access": {"my.app": {"roles": ["x", *BOTH]}}}),
        ("app_metadata.scopes", {"app_metadata": {"scopes": BOTH}}),
    ],
)
async def test_scopes_may_stand_in_any_claim(published, name, extra):
    given, claims = section("Auth0")
    del claims["scope"]
    verifier = Tokens(
        AccessSettings(**access(given, published.url, GALLERY_ACCESS__JWT_SCOPE_CLAIM=name)),
        issuer.JwksClient(published.url),
    )
    assert (await verifier.authenticate(signed(claims, "RS256", **extra))).scopes == {*BOTH}


async def test_the_owner_may_stand_in_another_claim(settings, published):
    given, claims = section("Keycloak")
    chosen = access(given, published.url, GALLERY_ACCESS__JWT_OWNER_CLAIM="ext.uid")
    async with closed_application(settings, **chosen) as (_, client):
        good = signed(claims, "RS256", ext={"uid": "maya-1"}, sub=None)
        assert (await client.post("/api/v1/session", headers=bearer_headers(good))).json()["owner"] == "maya-1"
        answer = await client.post("/api/v1/session", headers=bearer_headers(signed(claims, "RS256")))
        assert answer.json()["code"] == "token_claim_missing"
        assert "ext.uid" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "found"),
    [("a", 1), ("a.b", 2), ("c.d", 3), ("c.e.f", 4), ("c.g.h", 5), ("c.x", None), ("a.b.c", None), ("c.d.e", None)],
)
def test_a_path_leads_to_a_claim(path, found):
    claims = {"a": 1, "a.b": 2, "c": {"d": 3, "e.f": 4, "g": {"h": 5}}}
    value = find_claim(claims, path)
    assert (value if isinstance(value, int) else None) == found


def test_the_page_names_each_code_that_a_token_can_get():
    found = [kind.code() for kind in (*errors.TokenNotValid.__subclasses__(), errors.TokenAudienceNotSet)]
    assert [code for code in found if f"`{code}`" not in PAGE] == []
