"""An issuer's public keys, from its JWKS document (RFC 7517). Read when a token needs them, kept, and read again when a
token names a key that we do not know, though not more often than every `PAUSE` seconds, whatever tokens say.

When the issuer is away, tokens by keys that we know go on being good; one that needs another key is `IssuerAway`.
"""

import asyncio
import time
from typing import Any

import httpx
import jwt
import msgspec
import structlog

from gallery.access.tokens import BROKEN, fitting
from gallery.errors import IssuerAway, TokenSignatureInvalid, in_words

log = structlog.get_logger(__name__)

PAUSE = 10.0  # seconds between two reads
FRESH = 600.0  # seconds after which the keys are read again in any case: one may have been withdrawn
STALE = 24 * 3600.0  # seconds after which keys of an issuer that stays away are no longer believed
PATIENCE = 5.0  # seconds for the whole answer
MOST = 512 * 1024  # bytes of it
MOST_KEYS = 100


class Issuer:
    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: list[jwt.PyJWK] = []
        self._read_at = self._tried_at = float("-inf")
        self._away = False
        self._reading = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> Any:
        """Raises `TokenSignatureInvalid`, `IssuerAway`."""
        key = self._known(key_id, algorithm)
        if key is None or self._age() > STALE:
            await self._refresh()
            key = self._known(key_id, algorithm)
        elif self._age() > FRESH and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.create_task(self._refresh())  # whose key we know does not wait for it
        if key is not None and self._age() <= STALE:
            return key
        if self._away:
            raise IssuerAway(url=self._url)
        raise TokenSignatureInvalid(cause="the issuer has no such key", kid=(key_id or "")[:64])

    def _known(self, key_id: str | None, algorithm: str) -> Any:
        """A token that names no key is verified by the only one that fits."""
        found = [key.key for key in self._keys if key_id in (None, key.key_id) and _fits(key, algorithm)]
        return found[0] if found and (key_id is not None or len(found) == 1) else None

    def _age(self) -> float:
        return time.monotonic() - self._read_at

    async def _refresh(self) -> None:
        async with self._reading:
            if time.monotonic() - self._tried_at < PAUSE:
                return
            self._tried_at = time.monotonic()
            try:
                self._keys = _keys(await self._read())
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.MsgspecError, OSError) as error:
                self._away = True
                log.warning("issuer.away", url=self._url, error=in_words(error))
            else:
                self._away, self._read_at = False, time.monotonic()
                log.info("issuer.read", url=self._url, keys=len(self._keys))

    async def _read(self) -> bytes:
        async with (
            asyncio.timeout(PATIENCE),
            httpx.AsyncClient(timeout=PATIENCE, follow_redirects=False) as client,
            client.stream("GET", self._url, headers={"Accept": "application/json"}) as answer,
        ):
            if answer.status_code != httpx.codes.OK:
                raise httpx.HTTPError(f"status {answer.status_code}")
            body = b""
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MOST:
                    raise httpx.HTTPError("too long")
            return body


def _keys(body: bytes) -> list[jwt.PyJWK]:
    """Those that we can use; what else a document holds is the issuer's business."""
    document = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    listed = msgspec.json.decode(document.get("keys", msgspec.Raw(b"[]")), type=list[dict[str, Any]])
    return [key for entry in listed[:MOST_KEYS] if (key := _key(entry)) is not None]


def _key(entry: dict[str, Any]) -> jwt.PyJWK | None:
    if entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        key = jwt.PyJWK(entry)
    except BROKEN:
        return None
    return key if fitting(key.key) else None


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    """A key that says what it is for is for that only."""
    said = key._jwk_data.get("alg")  # noqa: SLF001  PyJWT keeps what was said and what it guessed apart only here
    return algorithm in fitting(key.key) and said in (None, algorithm)
