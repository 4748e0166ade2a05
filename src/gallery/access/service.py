"""The doorkeeper: turns what somebody shows into who they are, and says when that is over."""

import asyncio
import time
from typing import NamedTuple

import structlog
from msgspec import Struct

from gallery.access.hashes import Hashes
from gallery.access.issuer import Issuer
from gallery.access.keys import ApiKeys, looks_like_a_key
from gallery.access.links import Links
from gallery.access.model import OPEN_MODE_CALLER, STRANGER, Caller, Kind
from gallery.access.open_mode import authenticates, is_open
from gallery.access.sessions import Passes
from gallery.access.signing import Signatures
from gallery.access.tokens import Keys, OneKey, Tokens
from gallery.adapters.postgres.database import Database
from gallery.errors import CredentialNotValid, DatabaseAway
from gallery.settings import Access as Settings
from gallery.settings import Settings as AllSettings

log = structlog.get_logger(__name__)

MOST_GOOD = 10_000  # credentials that a process remembers as good
CHECK = 2.0  # seconds between two looks whether the keys behind an open stream still stand


class Shown(Struct, frozen=True):
    """The credentials of a request, as they came; the first of them counts."""

    bearer: str | None = None
    api_key: str | None = None
    session: str | None = None


class Credential(NamedTuple):
    kind: Kind
    text: str


class Access:
    def __init__(self, settings: AllSettings, database: Database) -> None:
        """Raises `CannotStart` for settings that do not fit together."""
        self.open = is_open(settings)
        self.keys = ApiKeys(database)
        self.signatures = Signatures(database, settings.access.signing_keys)
        self.passes = Passes(self.signatures)
        self.links = Links(self.signatures)
        self._tokens = _tokens(settings.access)
        self._good = Hashes(MOST_GOOD)

    async def caller(self, shown: Shown) -> Caller:
        """Who shows this. Raises `CredentialNotValid`, `DatabaseAway`, `IssuerAway`.

        In open mode who shows nothing that we know of is anyone, and may do everything.
        """
        credential = self._credential(shown)
        if credential is None:
            return OPEN_MODE_CALLER if self.open else STRANGER
        try:
            caller = await self._verify(credential)
        except CredentialNotValid:
            self._good.forget(credential.text)
            if self.open and credential.kind is Kind.SESSION:
                return OPEN_MODE_CALLER  # a session of another time locks nobody out of an open house
            raise
        self._good.add(credential.text)
        return caller

    def verified(self, shown: Shown) -> bool:
        """Whether nothing is shown, or what this process has found good and not yet found to be over."""
        credential = self._credential(shown)
        return credential is None or credential.text in self._good

    def _credential(self, shown: Shown) -> Credential | None:
        """The one that counts."""
        headers = [text for text in (shown.bearer, shown.api_key) if text is not None]
        for text in headers:
            if looks_like_a_key(text):
                return Credential(Kind.KEY, text)
        if shown.bearer is not None and self._tokens is not None:
            return Credential(Kind.TOKEN, shown.bearer)
        if headers and not self.open:
            return Credential(Kind.KEY, headers[0])
        return None if shown.session is None else Credential(Kind.SESSION, shown.session)

    async def _verify(self, credential: Credential) -> Caller:
        if credential.kind is Kind.TOKEN and self._tokens is not None:
            return await self._tokens.caller(credential.text)
        if credential.kind is Kind.SESSION:
            return await self._standing(await self.passes.read_session(credential.text))
        return await self.keys.caller(credential.text)

    async def by_ticket(self, text: str) -> Caller:
        """Raises `CredentialNotValid`, `DatabaseAway`."""
        return await self._standing(await self.passes.read_ticket(text))

    async def over(self, caller: Caller) -> None:
        """Returns when the caller's credential has expired or was withdrawn, at most some seconds late."""
        while not _expired(caller) and not await self.withdrawn(caller):
            left = CHECK if caller.key or caller.signing_key else 3600.0
            if caller.expires_at is not None:
                left = min(left, caller.expires_at - time.time())
            await asyncio.sleep(max(0.01, left))

    async def withdrawn(self, caller: Caller) -> bool:
        """Whether the API key behind the caller is revoked, or the signing key dropped.

        While the database is away it cannot be told, and the answer is no.
        """
        try:
            return not await self._keys_stand(caller)
        except DatabaseAway:
            return False

    async def _keys_stand(self, caller: Caller) -> bool:
        if caller.signing_key is not None and not await self.signatures.stands(caller.signing_key):
            return False
        return caller.key is None or await self.keys.stands(caller.key)

    async def _standing(self, caller: Caller) -> Caller:
        if caller.key is not None and not await self.keys.stands(caller.key):
            raise CredentialNotValid(reason="key revoked or expired", key=caller.key, kind=caller.kind)
        return caller


def _expired(caller: Caller) -> bool:
    return caller.expires_at is not None and caller.expires_at <= time.time()


def _tokens(settings: Settings) -> Tokens | None:
    if not authenticates(settings):
        return None
    public: Keys | None = OneKey(settings.jwt_public_key) if settings.jwt_public_key else None
    return Tokens(settings, Issuer(settings.jwks_url) if settings.jwks_url else public)
