"""The claims of a token whose signature has been verified: its times, audience and issuer, its owner and its scopes.

Issuers use different claims for the owner and for the scopes, so both names are settings. A name may be a path:
`realm_access.roles` is the field `roles` of the object `realm_access`, unless a claim has exactly this name.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

import jwt

from gallery.access.model import Caller, CredentialKind, Owner, Scope, is_valid_owner
from gallery.errors import (
    CannotStart,
    TokenAudienceNotSet,
    TokenAudienceWrong,
    TokenClaimInvalid,
    TokenClaimMissing,
    TokenExpired,
    TokenIssuerWrong,
    TokenMalformed,
    TokenNotValid,
    TokenNotYetValid,
)
from gallery.settings import AccessSettings

TIME_CLAIMS = ("exp", "nbf", "iat")
MAX_TIMESTAMP = 253_402_300_799  # seconds since 1970: the end of the year 9999
USER_WRITABLE_CLAIMS = (
    "user_metadata",
    "unsafe_metadata",
    "unsafeMetadata",
)  # Supabase and Clerk let users write these
MISSING = object()
DECODE_OPTIONS: Any = {
    "verify_signature": False,  # verified before; PyJWT then skips the other checks unless they are named here
    **dict.fromkeys(("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss"), True),
    **dict.fromkeys(("verify_sub", "verify_jti"), False),  # `Claims.caller` checks the owner; `jti` is not used
}
ERROR_TYPES: list[tuple[type[jwt.PyJWTError], type[TokenNotValid]]] = [
    (jwt.ExpiredSignatureError, TokenExpired),
    (jwt.ImmatureSignatureError, TokenNotYetValid),
    (jwt.InvalidAudienceError, TokenAudienceWrong),
    (jwt.InvalidIssuerError, TokenIssuerWrong),
]


class Claims:
    def __init__(self, settings: AccessSettings) -> None:
        """Raises `CannotStart` for a claim that users can write themselves, and for unknown scopes."""
        self._settings = settings
        self._owner_claim = _check_claim_name("GALLERY_ACCESS__JWT_OWNER_CLAIM", settings.jwt_owner_claim)
        self._scope_claim = _check_claim_name("GALLERY_ACCESS__JWT_SCOPE_CLAIM", settings.jwt_scope_claim)
        self._default_scopes = default_scopes(settings.jwt_default_scopes)

    def caller(self, token: str, payload: bytes) -> Caller:
        """The caller that a token with this verified payload names. Raises `TokenNotValid`."""
        claims = _parse_payload(payload)
        self._check(token, claims)
        owner = find_claim(claims, self._owner_claim)
        if owner is MISSING:
            raise TokenClaimMissing(claim=self._owner_claim)
        if not is_valid_owner(owner):
            raise TokenClaimInvalid(claim=self._owner_claim)
        ends, skew = float(claims["exp"]), self._settings.clock_skew
        return Caller(
            owner=Owner(owner),
            scopes=self._scopes_of(claims),
            kind=CredentialKind.TOKEN,
            expires_at=ends if ends > time.time() else ends + skew,  # accepted within the skew, so it ends after it
        )

    def _check(self, token: str, claims: dict[str, Any]) -> None:
        """The times, the audience and the issuer (RFC 7519, section 4.1)."""
        settings = self._settings
        needed = {"exp": True, "aud": settings.jwt_audience, "iss": settings.jwt_issuer}
        for name, value in needed.items():
            if value and name not in claims:
                raise TokenClaimMissing(claim=name)
        for name in TIME_CLAIMS:
            if name in claims and not _is_timestamp(claims[name]):
                raise TokenClaimInvalid(claim=name)
        try:
            jwt.decode(
                token,
                options=DECODE_OPTIONS,
                leeway=settings.clock_skew,
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
            )
        except jwt.InvalidTokenError as error:
            raise self._to_error(error) from None

    def _to_error(self, error: jwt.InvalidTokenError) -> TokenNotValid:
        if isinstance(error, jwt.InvalidAudienceError) and self._settings.jwt_audience is None:
            return TokenAudienceNotSet()
        kind = next(
            (error_type for jwt_error_type, error_type in ERROR_TYPES if isinstance(error, jwt_error_type)),
            TokenNotValid,
        )
        return kind(cause=str(error))

    def _scopes_of(self, claims: dict[str, Any]) -> frozenset[Scope]:
        claim = find_claim(claims, self._scope_claim)
        if claim is MISSING:
            return self._default_scopes
        names = claim.split(" ") if isinstance(claim, str) else claim
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TokenClaimInvalid(claim=self._scope_claim)
        return frozenset(Scope(name) for name in names if name in list(Scope))


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """The value of a claim, else of a field at the end of a dotted path, else `MISSING`."""
    if path in claims:
        return claims[path]
    for dot in re.finditer(r"\.", path):
        inner = claims.get(path[: dot.start()])
        if isinstance(inner, Mapping) and (value := find_claim(inner, path[dot.end() :])) is not MISSING:
            return value
    return MISSING


def default_scopes(text: str) -> frozenset[Scope]:
    """The scopes of a token without a scope claim. Raises `CannotStart`."""
    names = [name for name in re.split(r"[\s,]+", text) if name]
    for name in names:
        if name == Scope.ADMIN:
            raise CannotStart(
                "GALLERY_ACCESS__JWT_DEFAULT_SCOPES has admin, which would make each user of the issuer an admin of "
                "Gallery. Let the issuer put admin into the scope claim of those tokens that need it."
            )
        if name not in list(Scope):
            raise CannotStart(
                f"GALLERY_ACCESS__JWT_DEFAULT_SCOPES has the unknown scope {name}: expected images:read, images:write."
            )
    return frozenset(Scope(name) for name in names)


def _check_claim_name(variable: str, text: str) -> str:
    if not text.isprintable() or text != text.strip(" ."):
        raise CannotStart(f"{variable} is {text!r}: expected the name of a claim, or a path such as resource.roles.")
    if own := next((part for part in USER_WRITABLE_CLAIMS if part in text.split(".")), None):
        raise CannotStart(
            f"{variable} is {text}: users can write {own} themselves. Use a claim that only the issuer writes."
        )
    return text


def _parse_payload(payload: bytes) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except (ValueError, RecursionError):
        raise TokenMalformed(cause="the payload is not JSON") from None
    if not isinstance(claims, dict):
        raise TokenMalformed(cause="the payload is not an object")
    return claims


def _is_timestamp(value: object) -> bool:
    """Whether `value` is a `NumericDate` (RFC 7519, section 2) from 1970 to 9999."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TIMESTAMP
