"""Passes: what we give out in exchange for a credential, signed by us and valid for a short while.

A ticket opens the notification stream and nothing else. A session is a browser's cookie. Neither outlives the
credential that it was made from, and both end with the API key when that is revoked, and with our signing key when that
is dropped.
"""

import time
from datetime import timedelta

import msgspec
from msgspec import Struct

from gallery.access.model import Caller, Kind, Owner, Purpose, Scope
from gallery.access.signing import Signatures, decoded, encoded
from gallery.errors import CredentialNotValid

TICKET = timedelta(minutes=5)
SESSION = timedelta(hours=12)
MOST = 4096  # characters, as browsers keep of a cookie


class Pass(Struct, frozen=True, array_like=True):
    """Whom it lets in until when, and when the credential behind it ends."""

    owner: Owner
    scopes: list[Scope]
    key: str | None
    until: int
    credential_until: float | None


class Passes:
    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    async def ticket(self, caller: Caller) -> tuple[str, int]:
        """For the stream of what `caller` may read, and for how many seconds it is good."""
        return await self._issue(Purpose.TICKET, caller, frozenset({Scope.READ}), TICKET)

    async def session(self, caller: Caller) -> tuple[str, int]:
        """For all that `caller` may do, and for how many seconds it is good."""
        return await self._issue(Purpose.SESSION, caller, caller.scopes, SESSION)

    async def read_ticket(self, text: str) -> Caller:
        """Whoever it was given to; what it opens may last as long as the credential. Raises `CredentialNotValid`."""
        found, signing_key = await self._read(Purpose.TICKET, text)
        return _caller(found, signing_key, Kind.TICKET, found.credential_until)

    async def read_session(self, text: str) -> Caller:
        """Whoever it was given to, until it ends. Raises `CredentialNotValid`."""
        found, signing_key = await self._read(Purpose.SESSION, text)
        return _caller(found, signing_key, Kind.SESSION, found.until)

    async def _issue(
        self, purpose: Purpose, caller: Caller, scopes: frozenset[Scope], life: timedelta
    ) -> tuple[str, int]:
        now = int(time.time())
        until = min(now + int(life.total_seconds()), int(caller.expires_at or 2**53))
        body = Pass(caller.owner, sorted(scopes), caller.key, until, caller.expires_at)
        message = encoded(msgspec.json.encode(body))
        key_id, signature = await self._signatures.sign(purpose, message)
        return f"{message}.{key_id}.{signature}", max(0, until - now)

    async def _read(self, purpose: Purpose, text: str) -> tuple[Pass, str]:
        """The pass, and the id of the key that has signed it."""
        message, _, rest = text.partition(".")
        key_id, _, signature = rest.rpartition(".")
        if len(text) > MOST or not await self._signatures.verify(purpose, message, key_id, signature):
            raise CredentialNotValid(reason=f"{purpose} not ours")
        found = msgspec.json.decode(decoded(message), type=Pass)
        if found.until <= time.time():
            raise CredentialNotValid(reason=f"{purpose} expired")
        return found, key_id


def _caller(found: Pass, signing_key: str, kind: Kind, until: float | None) -> Caller:
    return Caller(
        owner=found.owner,
        scopes=frozenset(found.scopes),
        kind=kind,
        expires_at=until,
        key=found.key,
        signing_key=signing_key,
    )
