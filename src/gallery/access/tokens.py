"""Bearer tokens: JWTs (RFC 7519) of an identity provider, verified by a secret or by public keys.

A setting decides which algorithms are accepted, never the token, and each algorithm has one source of keys: the secret
for HS…, public keys for all others. So a public key is never used as a secret, and `none` is never accepted.
"""

import re
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

from gallery.access.claims import Claims
from gallery.access.model import Caller
from gallery.errors import CannotStart, TokenAlgorithmRefused, TokenMalformed, TokenSignatureInvalid
from gallery.settings import AccessSettings

warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)  # `Tokens` logs it once, at start

log = structlog.get_logger(__name__)

SECRET_ALGORITHMS = ("HS256", "HS384", "HS512")
PUBLIC_KEY_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
DEFAULT_ALGORITHMS = ("RS256", "ES256", "EdDSA")
CURVE_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
MAX_TOKEN_LENGTH = 8 * 1024  # characters
MAX_CAUSE_LENGTH = 200  # characters of PyJWT's message in the log
MIN_SECRET_BYTES = 32  # of an HS256 secret, by RFC 7518
PARSE_ERRORS = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError, UnsupportedAlgorithm)


class KeySource(Protocol):
    """The source of public keys: a setting, or the issuer."""

    async def get(self, key_id: str | None, algorithm: str) -> Any:
        """The key for a token with this header. Raises `TokenNotValid`, `IssuerUnavailable`."""


class Tokens:
    def __init__(self, settings: AccessSettings, public_keys: KeySource | None) -> None:
        """Raises `CannotStart` for settings that contradict each other."""
        self._settings = settings
        self._public_keys = public_keys
        self._algorithms = allowed_algorithms(settings)
        self._claims = Claims(settings)
        if settings.jwt_secret and len(settings.jwt_secret.encode()) < MIN_SECRET_BYTES:
            log.warning("access.short_jwt_secret", bytes=len(settings.jwt_secret.encode()), wanted=MIN_SECRET_BYTES)

    async def authenticate(self, token: str) -> Caller:
        """The caller that the token names. Raises `TokenNotValid`, `IssuerUnavailable`."""
        header = _header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenAlgorithmRefused(algorithm=str(algorithm)[:64])
        key = await self._key(algorithm, header.get("kid"))
        return self._claims.caller(token, _verify_signature(token, key, algorithm))

    async def _key(self, algorithm: str, key_id: object) -> Any:
        if algorithm in SECRET_ALGORITHMS:
            return self._settings.jwt_secret
        if self._public_keys is None or not isinstance(key_id, str | None):
            raise TokenMalformed(cause="its kid is not a string")
        return await self._public_keys.get(key_id, algorithm)


class StaticKey:
    """The public key of a setting; the key id in a token is ignored."""

    def __init__(self, pem: str) -> None:
        """Raises `CannotStart`."""
        try:
            self._key = load_pem_public_key(_unescape_newlines(pem).encode())
        except (*PARSE_ERRORS, UnicodeError) as error:
            raise CannotStart("GALLERY_ACCESS__JWT_PUBLIC_KEY must be a public key in PEM.") from error
        if not supported_algorithms(self._key):
            raise CannotStart("GALLERY_ACCESS__JWT_PUBLIC_KEY must be an RSA (2048 bits or more), EC or Ed25519 key.")

    async def get(self, key_id: str | None, algorithm: str) -> Any:  # noqa: ARG002  there is only one
        if algorithm not in supported_algorithms(self._key):
            raise TokenSignatureInvalid(cause="the key is for another algorithm", algorithm=algorithm)
        return self._key


def allowed_algorithms(settings: AccessSettings) -> frozenset[str]:
    """The algorithms that tokens may be signed with. Raises `CannotStart`."""
    public = bool(settings.jwt_public_key or settings.jwks_url)
    if settings.jwt_public_key and settings.jwks_url:
        raise CannotStart("GALLERY_ACCESS__JWT_PUBLIC_KEY and GALLERY_ACCESS__JWKS_URL are both set: set one of them.")
    possible = (SECRET_ALGORITHMS if settings.jwt_secret else ()) + (PUBLIC_KEY_ALGORITHMS if public else ())
    wanted = [name for name in re.split(r"[\s,]+", settings.jwt_algorithms) if name]
    if unsupported := [name for name in wanted if name not in possible]:
        raise CannotStart(
            f"GALLERY_ACCESS__JWT_ALGORITHMS has {', '.join(unsupported)}: unknown, or without a key. Set the secret "
            "for HS…, a public key or the JWKS URL for all others."
        )
    return frozenset(wanted) or frozenset(
        (SECRET_ALGORITHMS[:1] if settings.jwt_secret else ()) + (DEFAULT_ALGORITHMS if public else ())
    )


def supported_algorithms(key: object) -> Sequence[str]:
    """The algorithms that a public key can verify."""
    if isinstance(key, RSAPublicKey):
        return [name for name in PUBLIC_KEY_ALGORITHMS if name[:2] in ("RS", "PS")] if key.key_size >= 2048 else []
    if isinstance(key, EllipticCurvePublicKey):
        return [CURVE_ALGORITHMS[key.curve.name]] if key.curve.name in CURVE_ALGORITHMS else []
    return ["EdDSA"] if isinstance(key, Ed25519PublicKey) else []


_JWS = jwt.PyJWS()


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenMalformed(cause="it is too long", length=len(token), limit=MAX_TOKEN_LENGTH)
    try:
        return _JWS.get_unverified_header(token)
    except PARSE_ERRORS as error:
        raise TokenMalformed(cause=str(error)[:MAX_CAUSE_LENGTH]) from None


def _verify_signature(token: str, key: Any, algorithm: str) -> bytes:
    """The payload of a token with a valid signature; nothing in it is read before."""
    try:
        payload: bytes = _JWS.decode(token, key, algorithms=[algorithm])
    except jwt.InvalidSignatureError:
        raise TokenSignatureInvalid(cause="the signature does not fit the key") from None
    except PARSE_ERRORS as error:
        raise TokenMalformed(cause=str(error)[:MAX_CAUSE_LENGTH]) from None
    return payload


def _unescape_newlines(pem: str) -> str:
    """A PEM from an environment variable often holds its line ends as backslashes, each with an n."""
    return pem.replace("\\n", "\n")
