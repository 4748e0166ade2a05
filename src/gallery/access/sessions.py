"""Sessions and tickets: signed texts that Gallery issues in exchange for a credential, valid for a short time.

A ticket opens the notification stream only. A session is a browser's cookie. Neither outlives its credential, and both
end when the API key is revoked or the signing key is dropped.
"""

import time
from datetime import timedelta

import msgspec
from msgspec import Struct

from gallery.access.model import Caller, CredentialKind, Owner, Purpose, Scope
from gallery.access.signing import Signatures, base64url_decode, base64url_encode
from gallery.errors import CredentialNotValid

TICKET_LIFETIME = timedelta(minutes=5)
SESSION_LIFETIME = timedelta(hours=12)
MAX_LENGTH = 4096  # characters: the limit of browsers for a cookie


class SignedCaller(Struct, frozen=True, array_like=True):
    """The signed payload of a session or a ticket. Times in seconds since 1970."""

    owner: Owner
    scopes: list[Scope]
    api_key_id: str | None
    expires_at: int
    credential_expires_at: float | None


class Sessions:
    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    async def issue_ticket(self, caller: Caller) -> tuple[str, int]:
        """Returns a ticket with the scope `images:read`, and its lifetime in seconds."""
        return await self._issue(Purpose.TICKET, caller, frozenset({Scope.READ}), TICKET_LIFETIME)

    async def issue_session(self, caller: Caller) -> tuple[str, int]:
        """Returns a session with the caller's scopes, and its lifetime in seconds."""
        return await self._issue(Purpose.SESSION, caller, caller.scopes, SESSION_LIFETIME)

    async def verify_ticket(self, text: str) -> Caller:
        """The caller, for as long as its credential is valid: a stream outlives the ticket that has opened it.

        Raises `CredentialNotValid`, `DatabaseUnavailable`.
        """
        payload, signing_key = await self._verify(Purpose.TICKET, text)
        return _caller(payload, signing_key, CredentialKind.TICKET, payload.credential_expires_at)

    async def verify_session(self, text: str) -> Caller:
        """The caller, until the session expires. Raises `CredentialNotValid`, `DatabaseUnavailable`."""
        payload, signing_key = await self._verify(Purpose.SESSION, text)
        return _caller(payload, signing_key, CredentialKind.SESSION, payload.expires_at)

    async def _issue(
        self, purpose: Purpose, caller: Caller, scopes: frozenset[Scope], lifetime: timedelta
    ) -> tuple[str, int]:
        now = int(time.time())
        expires_at = min(now + int(lifetime.total_seconds()), int(caller.expires_at or 2**53))
        body = SignedCaller(caller.owner, sorted(scopes), caller.api_key_id, expires_at, caller.expires_at)
        message = base64url_encode(msgspec.json.encode(body))
        key_id, signature = await self._signatures.sign(purpose, message)
        return f"{message}.{key_id}.{signature}", max(0, expires_at - now)

    async def _verify(self, purpose: Purpose, text: str) -> tuple[SignedCaller, str]:
        """The payload, and the id of the signing key."""
        message, _, rest = text.partition(".")
        key_id, _, signature = rest.rpartition(".")
        if len(text) > MAX_LENGTH or not await self._signatures.verify(purpose, message, key_id, signature):
            raise CredentialNotValid(reason=f"{purpose} signature not valid")
        payload = msgspec.json.decode(base64url_decode(message), type=SignedCaller)
        if payload.expires_at <= time.time():
            raise CredentialNotValid(reason=f"{purpose} expired")
        return payload, key_id


def _caller(payload: SignedCaller, signing_key_id: str, kind: CredentialKind, expires_at: float | None) -> Caller:
    return Caller(
        owner=payload.owner,
        scopes=frozenset(payload.scopes),
        kind=kind,
        expires_at=expires_at,
        api_key_id=payload.api_key_id,
        signing_key_id=signing_key_id,
    )
