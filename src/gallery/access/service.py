"""Authenticates callers by their credentials, and watches whether the credentials stay valid."""

import asyncio
import math
import time
from typing import NamedTuple

import structlog
from msgspec import Struct

from gallery.access.hashes import RecentHashes
from gallery.access.issuer import JwksClient
from gallery.access.key_checks import CheckedKeys, KeyCheck
from gallery.access.keys import ApiKeys, looks_like_api_key
from gallery.access.link_keys import LinkKeys, check_separate
from gallery.access.model import ANONYMOUS, OPEN_MODE_CALLER, Caller, CredentialKind
from gallery.access.open_mode import has_jwt_settings, is_open
from gallery.access.sessions import Sessions
from gallery.access.signed_links import SignedLinks
from gallery.access.signing import Signatures
from gallery.access.tokens import KeySource, StaticKey, Tokens
from gallery.access.upload_tickets import UploadTickets, looks_like_upload_ticket
from gallery.adapters.postgres.database import Database
from gallery.errors import CredentialNotValid, DatabaseUnavailable
from gallery.settings import AccessSettings, Settings

log = structlog.get_logger(__name__)

MAX_VERIFIED = 10_000  # credentials per process that count as verified before
REVOCATION_CHECK_SECONDS = 2.0  # between two checks of a caller that was verified


class Credentials(Struct, frozen=True):
    """The credentials in a request's headers, not yet verified."""

    bearer: str | None = None
    api_key: str | None = None
    session: str | None = None
    upload_ticket: str | None = None


class Credential(NamedTuple):
    kind: CredentialKind
    text: str


class Access:
    def __init__(self, settings: Settings, database: Database) -> None:
        """Raises `CannotStart` for settings that do not fit together."""
        self.open = is_open(settings)
        self.keys = ApiKeys(database)
        self.signatures = Signatures(database, settings.access.signing_keys)
        self.sessions = Sessions(self.signatures)
        self.upload_tickets = UploadTickets(database)
        self.link_keys = LinkKeys(database, settings.access.link_keys)
        check_separate(settings.access.link_keys, settings.access.signing_keys)
        self.links = SignedLinks(self.signatures, self.link_keys, settings.access.link_window)
        self._tokens = _tokens(settings.access)
        self._has_issuer = bool(settings.access.jwks_url)  # whose keys may change, unlike those of settings
        self._verified_credentials = RecentHashes(MAX_VERIFIED)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """The caller; without credentials `OPEN_MODE_CALLER` in open mode, else `ANONYMOUS`.

        Raises `CredentialNotValid`, `DatabaseUnavailable`, `IssuerUnavailable`.
        """
        credential = self._find_credential(credentials)
        if credential is None:
            return OPEN_MODE_CALLER if self.open else ANONYMOUS
        try:
            caller = await self._verify(credential)
        except CredentialNotValid:
            self._verified_credentials.discard(credential.text)
            if self.open and credential.kind is CredentialKind.SESSION:
                return OPEN_MODE_CALLER  # an old cookie must not lock a browser out
            raise
        self._verified_credentials.add(credential.text)
        return caller

    def is_verified(self, credentials: Credentials) -> bool:
        """Whether there is no credential, or one that this process verified before and has not seen fail since."""
        credential = self._find_credential(credentials)
        return credential is None or credential.text in self._verified_credentials

    def _find_credential(self, credentials: Credentials) -> Credential | None:
        """The credential that decides: an upload ticket, which may do least; else an API key, a token, a session."""
        if credentials.upload_ticket is not None:
            return Credential(CredentialKind.UPLOAD_TICKET, credentials.upload_ticket)
        headers = [text for text in (credentials.bearer, credentials.api_key) if text is not None]
        for text in headers:
            if looks_like_api_key(text):
                return Credential(CredentialKind.API_KEY, text)
        if credentials.bearer is not None and self._tokens is not None:
            return Credential(CredentialKind.TOKEN, credentials.bearer)
        if headers and not self.open:
            return Credential(CredentialKind.API_KEY, headers[0])
        return None if credentials.session is None else Credential(CredentialKind.SESSION, credentials.session)

    async def _verify(self, credential: Credential) -> Caller:
        if credential.kind is CredentialKind.TOKEN and self._tokens is not None:
            return await self._tokens.authenticate(credential.text)
        if credential.kind is CredentialKind.UPLOAD_TICKET:
            return await self._authenticate_upload_ticket(credential.text)
        if credential.kind is CredentialKind.SESSION:
            return await self._check_not_revoked(await self.sessions.verify_session(credential.text))
        return await self.keys.authenticate(credential.text)

    async def authenticate_ticket(self, text: str) -> Caller:
        """The caller with a ticket in a URL, for the stream alone or for uploads.

        Raises `CredentialNotValid`, `DatabaseUnavailable`.
        """
        if looks_like_upload_ticket(text):
            return await self._authenticate_upload_ticket(text)
        return await self._check_not_revoked(await self.sessions.verify_ticket(text))

    async def _authenticate_upload_ticket(self, text: str) -> Caller:
        caller = await self.upload_tickets.authenticate(text)
        if not await self._keys_are_valid(caller):
            raise CredentialNotValid(reason="key behind the upload ticket revoked", ticket=caller.ticket_id)
        return caller

    def valid_until(self, caller: Caller, verified_at: float) -> float:
        """Until when the caller that was verified at that time is valid, while its `key_checks` hold; both
        `time.monotonic`. In the past for a caller that has expired, and for one with an upload ticket, which is read
        again for each request.
        """
        if caller.kind is CredentialKind.UPLOAD_TICKET:
            return -math.inf
        from_issuer = caller.kind is CredentialKind.TOKEN and self._has_issuer
        limits = [verified_at + REVOCATION_CHECK_SECONDS if from_issuer else math.inf]
        if caller.expires_at is not None:
            limits.append(time.monotonic() + caller.expires_at - time.time())
        return min(limits)

    def key_checks(self, caller: Caller) -> list[KeyCheck]:
        """The keys on which the caller's credential depends."""
        named: list[tuple[CheckedKeys, str | None]] = [
            (self.keys, caller.api_key_id),
            (self.signatures, caller.signing_key_id),
            (self.link_keys, caller.link_key_id),
        ]
        return [KeyCheck(keys, key_id) for keys, key_id in named if key_id is not None]

    async def wait_until_expired(self, caller: Caller) -> None:
        """Returns when the caller's credential has expired or was revoked, at most some seconds late."""
        while not self.has_expired(caller) and not await self.is_revoked(caller):
            can_end = caller.api_key_id or caller.signing_key_id or caller.upload_ticket
            left = REVOCATION_CHECK_SECONDS if can_end else 3600.0
            if caller.expires_at is not None:
                left = min(left, caller.expires_at - time.time())
            await asyncio.sleep(max(0.01, left))

    def has_expired(self, caller: Caller) -> bool:
        return caller.expires_at is not None and caller.expires_at <= time.time()

    async def is_revoked(self, caller: Caller) -> bool:
        """Whether the upload ticket or a key behind the caller is revoked or dropped; false while the database is
        unavailable.
        """
        try:
            if caller.ticket_id is not None and await self.upload_tickets.is_revoked(caller.ticket_id):
                return True
            return not await self._keys_are_valid(caller)
        except DatabaseUnavailable:
            return False

    async def _keys_are_valid(self, caller: Caller) -> bool:
        return all([await check.repeat() for check in self.key_checks(caller)])

    async def _check_not_revoked(self, caller: Caller) -> Caller:
        if caller.api_key_id is not None and not await self.keys.is_valid(caller.api_key_id):
            raise CredentialNotValid(reason="key revoked or expired", key=caller.api_key_id, kind=caller.kind)
        return caller


def _tokens(settings: AccessSettings) -> Tokens | None:
    if not has_jwt_settings(settings):
        return None
    public: KeySource | None = StaticKey(settings.jwt_public_key) if settings.jwt_public_key else None
    return Tokens(settings, JwksClient(settings.jwks_url) if settings.jwks_url else public)
