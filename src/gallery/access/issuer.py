"""An issuer's public keys, from its JWKS document (RFC 7517). They are read when a token needs them and cached; a token
that names an unknown key makes them be read again, but at most every `MIN_REFRESH_SECONDS`.

While the issuer is unavailable, tokens signed by cached keys stay valid; other tokens raise `IssuerUnavailable`.
"""

import asyncio
import time
from typing import Any

import httpx
import jwt
import msgspec
import structlog

from gallery.access.tokens import PARSE_ERRORS, supported_algorithms
from gallery.errors import IssuerUnavailable, TokenSignatureInvalid, describe_error

log = structlog.get_logger(__name__)

MIN_REFRESH_SECONDS = 10.0  # between two reads
REFRESH_AFTER_SECONDS = 600.0  # after which the keys are read again in any case: one may have been revoked
MAX_AGE_SECONDS = 24 * 3600.0  # after which cached keys of an unavailable issuer are no longer accepted
TIMEOUT_SECONDS = 5.0  # for the whole response
MAX_JWKS_BYTES = 512 * 1024
MAX_KEYS = 100


class JwksClient:
    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: list[jwt.PyJWK] = []
        self._read_at = self._attempted_at = float("-inf")
        self._unavailable = False
        self._refresh_lock = asyncio.Lock()
        self._refresh_task: asyncio.Task[None] | None = None

    async def get(self, key_id: str | None, algorithm: str) -> Any:
        """The public key for a token's `kid` and `alg`. Raises `TokenSignatureInvalid`, `IssuerUnavailable`."""
        key = self._find_key(key_id, algorithm)
        if key is None or self._age() > MAX_AGE_SECONDS:
            await self._refresh()
            key = self._find_key(key_id, algorithm)
        elif self._age() > REFRESH_AFTER_SECONDS and (self._refresh_task is None or self._refresh_task.done()):
            self._refresh_task = asyncio.create_task(self._refresh())  # a cached key does not wait for it
        if key is not None and self._age() <= MAX_AGE_SECONDS:
            return key
        if self._unavailable:
            raise IssuerUnavailable(url=self._url)
        raise TokenSignatureInvalid(cause="the issuer has no such key", kid=(key_id or "")[:64])

    def _find_key(self, key_id: str | None, algorithm: str) -> Any:
        """Without a key id, the only key for the algorithm; `None` if there are several."""
        found = [key.key for key in self._keys if key_id in (None, key.key_id) and _supports(key, algorithm)]
        return found[0] if found and (key_id is not None or len(found) == 1) else None

    def _age(self) -> float:
        return time.monotonic() - self._read_at

    async def _refresh(self) -> None:
        async with self._refresh_lock:
            if time.monotonic() - self._attempted_at < MIN_REFRESH_SECONDS:
                return
            self._attempted_at = time.monotonic()
            try:
                self._keys = _parse_keys(await self._read())
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, msgspec.MsgspecError, OSError) as error:
                self._unavailable = True
                log.warning("issuer.unavailable", url=self._url, error=describe_error(error))
            else:
                self._unavailable, self._read_at = False, time.monotonic()
                log.info("issuer.keys_read", url=self._url, keys=len(self._keys))

    async def _read(self) -> bytes:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream("GET", self._url, headers={"Accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise httpx.HTTPError(f"status {response.status_code}")
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_JWKS_BYTES:
                    raise httpx.HTTPError("too long")
            return body


def _parse_keys(body: bytes) -> list[jwt.PyJWK]:
    """The keys of a supported type; other entries of the document are ignored."""
    document = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    listed = msgspec.json.decode(document.get("keys", msgspec.Raw(b"[]")), type=list[dict[str, Any]])
    return [key for entry in listed[:MAX_KEYS] if (key := _parse_key(entry)) is not None]


def _parse_key(entry: dict[str, Any]) -> jwt.PyJWK | None:
    if entry.get("use", "sig") != "sig" or entry.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    try:
        key = jwt.PyJWK(entry)
    except PARSE_ERRORS:
        return None
    return key if supported_algorithms(key.key) else None


def _supports(key: jwt.PyJWK, algorithm: str) -> bool:
    """Whether the key fits the algorithm. A key that declares an `alg` is for that algorithm only."""
    declared = key._jwk_data.get("alg")  # noqa: SLF001  elsewhere PyJWT mixes declared and guessed algorithms
    return algorithm in supported_algorithms(key.key) and declared in (None, algorithm)
