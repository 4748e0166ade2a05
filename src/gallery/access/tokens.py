"""Bearer tokens: JWTs (RFC 7519) that somebody else has issued, verified by a secret or by public keys.

Which algorithms may sign is our setting, never the token's choice, and each algorithm looks for its key in one place
only: HS… at the secret, all others at public keys. So a public key never serves as a secret, and `none` never serves.
"""

import re
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jwt
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gallery.access.model import Caller, Kind, Owner, Scope, is_owner
from gallery.errors import CannotStart, CredentialNotValid
from gallery.settings import Access as Settings

warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)  # we say so ourselves, once, at start

log = structlog.get_logger(__name__)

SECRET = ("HS256", "HS384", "HS512")
PUBLIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
BY_DEFAULT = ("RS256", "ES256", "EdDSA")
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
MOST = 8 * 1024  # characters of a token
TIMES = ("exp", "nbf", "iat")
LATEST = 253_402_300_799  # seconds since 1970: the end of the year 9999
SHORTEST = 32  # bytes of an HS256 secret, as RFC 7518 wants them
BROKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError, UnsupportedAlgorithm)


class Keys(Protocol):
    """Where public keys come from: from a setting, or from the issuer."""

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """The key that a token with this header is verified by. Raises `CredentialNotValid`, `IssuerAway`."""


class Tokens:
    def __init__(self, settings: Settings, public: Keys | None) -> None:
        """Raises `CannotStart` for settings that do not fit together."""
        self._settings = settings
        self._public = public
        self._algorithms = algorithms(settings)
        if settings.jwt_secret and len(settings.jwt_secret.encode()) < SHORTEST:
            log.warning("access.short_jwt_secret", bytes=len(settings.jwt_secret.encode()), wanted=SHORTEST)

    async def caller(self, token: str) -> Caller:
        """Who has shown this token. Raises `CredentialNotValid`, `IssuerAway`."""
        header = _header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise CredentialNotValid(reason="algorithm")
        key = await self._key(algorithm, header.get("kid"))
        return _caller(self._claims(token, key, algorithm), self._settings.clock_skew)

    async def _key(self, algorithm: str, key_id: object) -> Any:
        if algorithm in SECRET:
            return self._settings.jwt_secret
        if self._public is None or not isinstance(key_id, str | None):
            raise CredentialNotValid(reason="key")
        return await self._public.find(key_id, algorithm)

    def _claims(self, token: str, key: Any, algorithm: str) -> Mapping[str, Any]:
        settings = self._settings
        try:
            return _JWT.decode(
                token,
                key,
                algorithms=[algorithm],
                leeway=settings.clock_skew,
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                options={"require": _required(settings)},
            )
        except BROKEN as error:
            raise CredentialNotValid(reason=type(error).__name__) from None


class OneKey:
    """The public key of a setting; what a token says of its key's id does not matter."""

    def __init__(self, pem: str) -> None:
        """Raises `CannotStart`."""
        try:
            self._key = load_pem_public_key(_lines(pem).encode())
        except (*BROKEN, UnicodeError) as error:
            raise CannotStart("GALLERY_ACCESS__JWT_PUBLIC_KEY is no public key in PEM.") from error
        if not fitting(self._key):
            raise CannotStart("GALLERY_ACCESS__JWT_PUBLIC_KEY is no RSA, EC or Ed25519 key.")

    async def find(self, key_id: str | None, algorithm: str) -> Any:  # noqa: ARG002  there is only one
        if algorithm not in fitting(self._key):
            raise CredentialNotValid(reason="algorithm of the key")
        return self._key


def algorithms(settings: Settings) -> frozenset[str]:
    """What may have signed a token. Raises `CannotStart`."""
    public = bool(settings.jwt_public_key or settings.jwks_url)
    if settings.jwt_public_key and settings.jwks_url:
        raise CannotStart("GALLERY_ACCESS__JWT_PUBLIC_KEY and GALLERY_ACCESS__JWKS_URL are both set: set one of them.")
    possible = (SECRET if settings.jwt_secret else ()) + (PUBLIC if public else ())
    wanted = [name for name in re.split(r"[\s,]+", settings.jwt_algorithms) if name]
    if strangers := [name for name in wanted if name not in possible]:
        raise CannotStart(
            f"GALLERY_ACCESS__JWT_ALGORITHMS has {', '.join(strangers)}, for which no key is set, or which is none."
        )
    return frozenset(wanted) or frozenset((SECRET[:1] if settings.jwt_secret else ()) + (BY_DEFAULT if public else ()))


def fitting(key: object) -> Sequence[str]:
    """The algorithms that a public key can verify."""
    if isinstance(key, RSAPublicKey):
        return [name for name in PUBLIC if name[:2] in ("RS", "PS")] if key.key_size >= 2048 else []
    if isinstance(key, EllipticCurvePublicKey):
        return [CURVES[key.curve.name]] if key.curve.name in CURVES else []
    return ["EdDSA"] if isinstance(key, Ed25519PublicKey) else []


_JWT = jwt.PyJWT(options={"verify_sub": False, "verify_jti": False})  # we look at `sub` ourselves; `jti` says nothing
_JWS = jwt.PyJWS()


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MOST:
        raise CredentialNotValid(reason="too long", length=len(token))
    try:
        return _JWS.get_unverified_header(token)
    except BROKEN as error:
        raise CredentialNotValid(reason=type(error).__name__) from None


def _required(settings: Settings) -> list[str]:
    asked = {"aud": settings.jwt_audience, "iss": settings.jwt_issuer}
    return ["exp", "sub", *(claim for claim, value in asked.items() if value)]


def _caller(claims: Mapping[str, Any], skew: float) -> Caller:
    owner, words = claims["sub"], claims.get("scope", "")
    if not is_owner(owner) or not isinstance(words, str):
        raise CredentialNotValid(reason="sub or scope")
    scopes = frozenset(Scope(word) for word in words.split(" ") if word in list(Scope))
    if not all(_is_time(claims[name]) for name in TIMES if name in claims):
        raise CredentialNotValid(reason="exp, nbf or iat")
    ends = float(claims["exp"])
    return Caller(
        owner=Owner(owner),
        scopes=scopes,
        kind=Kind.TOKEN,
        expires_at=ends if ends > time.time() else ends + skew,  # let in late, out a little later still
    )


def _is_time(value: object) -> bool:
    """Whether that is a `NumericDate` (RFC 7519, section 2) of our era; no issuer means a time beyond."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST


def _lines(pem: str) -> str:
    """Variables often carry a PEM's line ends as two characters."""
    return pem.replace("\\n", "\n")
