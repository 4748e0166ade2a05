"""Bearer tokens: those of an issuer, and those of an attacker."""

import base64
import hashlib
import hmac
import json
import time

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from credentials import JWT_SECRET, READ_WRITE_SCOPES, make_token
from gallery.access.model import Scope
from gallery.access.tokens import StaticKey, Tokens, allowed_algorithms
from gallery.errors import CannotStart, CredentialNotValid
from gallery.settings import AccessSettings, Settings

TIMES = ("exp", "nbf", "iat")
NOW = int(time.time())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


def pem(key) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def tokens(**settings) -> Tokens:
    access = AccessSettings(**(settings or {"jwt_secret": JWT_SECRET}))
    return Tokens(access, StaticKey(access.jwt_public_key) if access.jwt_public_key else None)


def unsigned(header: dict, claims: dict, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


CLAIMS = {"sub": "maya", "scope": READ_WRITE_SCOPES, "exp": NOW + 86_400}


async def test_a_token_has_an_owner_and_scopes():
    caller = await tokens().authenticate(make_token("maya", "images:read openid", exp=NOW + 86_400))
    assert (caller.owner, caller.scopes, caller.expires_at) == ("maya", {Scope.READ}, NOW + 86_400)


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
async def test_public_keys_verify(key, algorithm):
    verifier = tokens(jwt_public_key=pem(key))
    assert (await verifier.authenticate(make_token(key=key, algorithm=algorithm))).owner == "maya"
    one_line = tokens(jwt_public_key=pem(key).replace("\n", "\\n"))
    assert (await one_line.authenticate(make_token(key=key, algorithm=algorithm, kid="any"))).owner == "maya"


def from_now(claims: dict) -> dict:
    """Times are in seconds from now."""
    now = int(time.time())
    return {name: now + value if name in TIMES and type(value) is int else value for name, value in claims.items()}


async def is_refused(verifier: Tokens, token: str) -> bool:
    with pytest.raises(CredentialNotValid):
        await verifier.authenticate(token)
    return True


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 5, ["HS256"], {"a": 1}, "HS512", "RS256"])
async def test_an_algorithm_that_is_not_allowed_is_refused(name):
    assert await is_refused(tokens(), unsigned({"alg": name, "typ": "JWT"}, CLAIMS))
    assert await is_refused(
        tokens(jwt_public_key=pem(RSA)), unsigned({"alg": name}, CLAIMS, b"x") if name != "RS256" else ""
    )
    assert await is_refused(tokens(), unsigned({"typ": "JWT"}, CLAIMS))


async def test_a_public_key_is_no_secret():
    """The classic: HS256, with the published key as its secret."""
    for text in (pem(RSA), pem(RSA).strip()):
        head = unsigned({"alg": "HS256", "typ": "JWT"}, CLAIMS).rsplit(".", 1)[0]
        signature = hmac.new(text.encode(), head.encode(), hashlib.sha256).digest()
        forged = f"{head}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert await is_refused(tokens(jwt_public_key=pem(RSA)), forged)
        assert await is_refused(tokens(jwt_public_key=pem(RSA), jwt_secret=JWT_SECRET), forged)


@pytest.mark.parametrize(
    "kid",
    ["../../../../dev/null", "' UNION SELECT 'x", "/proc/self/environ", "\x00", "x" * 5000, "http://evil.example/k"],
)
async def test_a_key_id_is_never_used_as_a_path_or_url(kid):
    token = make_token(key="\0" * 32, kid=kid)
    assert await is_refused(tokens(), token)
    for header in ({"jku": "http://evil.example"}, {"x5u": "http://evil.example"}, {"jwk": {"kty": "oct", "k": ""}}):
        assert await is_refused(tokens(), unsigned({"alg": "HS256", "kid": kid, **header}, CLAIMS, b"x"))
    assert await is_refused(tokens(jwt_public_key=pem(RSA)), unsigned({"alg": "RS256", "kid": 5}, CLAIMS, b"x"))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": -60},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": [1]},
        {"exp": 10**400},
        {"exp": "9" * 400},
        {"exp": "99999999999"},
        {"exp": 1e300},
        {"exp": 253_402_300_800.0},
        {"exp": True},
        {"exp": {}},
        {"nbf": -(10**400)},
        {"nbf": True},
        {"nbf": "0"},
        {"nbf": float("-inf")},
        {"iat": -(10**400)},
        {"iat": -1.5e300},
        {"iat": "0"},
        {"iat": False},
        {"iat": []},
        {"nbf": 120},
        {"nbf": "x"},
        {"iat": 120},
        {"aud": "gallery"},
        {"owner": None},
        {"owner": ""},
        {"owner": "x" * 201},
        {"owner": 7},
        {"owner": "a\x00b"},
        {"owner": "a\nb"},
        {"owner": "\ud800"},
        {"scope": [["images:read"]]},
        {"scope": [7]},
        {"scope": {"images:read": True}},
        {"scope": 7},
    ],
)
async def test_a_token_without_a_required_claim_is_refused(claims):
    assert await is_refused(tokens(), make_token(**from_now(claims)))


@pytest.mark.parametrize("space", ["\u2003", "\u00a0", "\t", "\n", "\u3000", "\x1f", "\x85"])
async def test_scopes_are_separated_by_spaces_only(space):
    """RFC 6749, section 3.3: an issuer may not know the scope `x<space>admin`, and grant it to a client."""
    caller = await tokens().authenticate(make_token("maya", f"images:read x{space}admin  openid"))
    assert caller.scopes == {Scope.READ}


async def test_an_array_of_scopes_is_not_split_further():
    caller = await tokens().authenticate(make_token("maya", ["images:read", "images:write admin", "openid"]))
    assert caller.scopes == {Scope.READ}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"jwt_default_scopes": "images:reed"}, "images:reed"),
        ({"jwt_default_scopes": "images:read, admin"}, "admin"),
        ({"jwt_scope_claim": "user_metadata.scopes"}, "user_metadata"),
        ({"jwt_owner_claim": "unsafe_metadata.id"}, "unsafe_metadata"),
        ({"jwt_owner_claim": " sub"}, "JWT_OWNER_CLAIM"),
        ({"jwt_scope_claim": "roles."}, "JWT_SCOPE_CLAIM"),
    ],
)
def test_settings_that_would_accept_too_much_or_nothing_are_refused_at_start(setting, message):
    with pytest.raises(CannotStart, match=message):
        tokens(jwt_secret=JWT_SECRET, **setting)


async def test_default_scopes_are_for_tokens_without_the_claim():
    verifier = tokens(jwt_secret=JWT_SECRET, jwt_default_scopes="images:read,images:write")
    assert (await verifier.authenticate(make_token("maya", None))).scopes == {Scope.READ, Scope.WRITE}
    assert (await verifier.authenticate(make_token("maya", "openid"))).scopes == frozenset()


@pytest.mark.parametrize("claims", [{"exp": -5}, {"nbf": 5}, {"iat": 5}, {"scope": None}])
async def test_clocks_may_differ_a_little_and_scopes_may_be_missing(claims):
    caller = await tokens().authenticate(make_token(**from_now(claims)))
    assert caller.expires_at > time.time()
    assert ("scope" in claims) == (caller.scopes == frozenset())


async def test_without_skew_the_clock_is_strict():
    assert await is_refused(tokens(jwt_secret=JWT_SECRET, clock_skew=0.0), make_token(exp=NOW - 1))


async def test_audience_and_issuer_are_held_to():
    verifier = tokens(jwt_secret=JWT_SECRET, jwt_audience="gallery", jwt_issuer="https://id.example")
    right = {"aud": ["other", "gallery"], "iss": "https://id.example"}
    assert (await verifier.authenticate(make_token(**right))).owner == "maya"
    for wrong in ({"aud": "other"}, {"aud": None}, {"aud": 5}, {"iss": "https://evil.example"}, {"iss": None}):
        assert await is_refused(verifier, make_token(**{**right, **wrong}))


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b.c", "....", "e30.e30.", "x" * 100, "ü.ü.ü", "eyJhbGciOiJIUzI1NiJ9..", "null.null.null"],
)
async def test_a_malformed_token_is_refused(text):
    assert await is_refused(tokens(), text)


async def test_a_huge_or_deep_token_is_refused_at_once():
    began = time.perf_counter()
    assert await is_refused(tokens(), make_token(owner="maya", padding="x" * 1_000_000))
    deep = base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("=")
    assert await is_refused(tokens(), f"{deep}.e30.x")
    assert time.perf_counter() - began < 1


async def test_another_secret_or_a_changed_claim_is_refused():
    assert await is_refused(tokens(), make_token(key=JWT_SECRET + "!"))
    head, _, signature = make_token().split(".")
    body = base64.urlsafe_b64encode(json.dumps({**CLAIMS, "scope": "admin"}).encode()).rstrip(b"=").decode()
    assert await is_refused(tokens(), f"{head}.{body}.{signature}")
    assert await is_refused(tokens(), f"{head}.{body}.")


def test_algorithms_come_from_the_settings_only():
    assert allowed_algorithms(AccessSettings(jwt_secret=JWT_SECRET)) == {"HS256"}
    assert allowed_algorithms(AccessSettings(jwks_url="http://x")) == {"RS256", "ES256", "EdDSA"}
    assert allowed_algorithms(AccessSettings(jwt_secret=JWT_SECRET, jwt_algorithms="HS512, HS256")) == {
        "HS512",
        "HS256",
    }
    for wrong in (
        AccessSettings(jwt_secret=JWT_SECRET, jwt_algorithms="none"),
        AccessSettings(jwt_secret=JWT_SECRET, jwt_algorithms="RS256"),
        AccessSettings(jwt_public_key=pem(RSA), jwt_algorithms="HS256"),
        AccessSettings(jwt_public_key=pem(RSA), jwks_url="http://x"),
    ):
        with pytest.raises(CannotStart):
            allowed_algorithms(wrong)


def test_an_invalid_public_key_is_refused_at_start():
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for text in ("x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", pem(small), "ü"):
        with pytest.raises(CannotStart):
            StaticKey(text)


async def test_a_key_verifies_its_own_algorithms_only():
    verifier = tokens(jwt_public_key=pem(EC))
    assert await is_refused(verifier, make_token(key=RSA, algorithm="RS256"))
    assert await is_refused(verifier, make_token(key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"))


def test_secrets_are_masked():
    settings = msgspec.structs.replace(
        Settings(), access=AccessSettings(jwt_secret=JWT_SECRET, signing_keys="a:" + "A" * 44)
    )
    assert "********" in {str(v) for e, v in settings.items() if e.path == "access.jwt_secret"}
    assert JWT_SECRET not in str([v for _, v in settings.items()])


def test_the_library_verifies_as_expected():
    with pytest.raises(jwt.InvalidAlgorithmError):
        jwt.decode(unsigned({"alg": "none"}, CLAIMS), "", algorithms=["HS256"])
