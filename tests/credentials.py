"""Applications that require credentials, and credentials for them."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import jwt
import msgspec

import photos
from conftest import serve_api
from gallery.access.model import Owner, Scope
from gallery.settings import Settings
from gallery.wiring import Gallery, open_gallery
from gallery_processes import GALLERY
from http_clients import TLS_CONTEXT

JWT_SECRET = "a secret of more than thirty-two bytes"
READ_WRITE_SCOPES = "images:read images:write"


def with_authentication(settings: Settings, **access: Any) -> Settings:
    """The settings with required credentials; tokens are signed with `JWT_SECRET` unless `access` is given."""
    given = access or {"jwt_secret": JWT_SECRET}
    return msgspec.structs.replace(
        settings, access=msgspec.structs.replace(settings.access, **{"open": False, **given})
    )


@asynccontextmanager
async def closed_application(settings: Settings, **access: Any) -> AsyncIterator[tuple[Gallery, httpx.AsyncClient]]:
    """An application that requires credentials, and a client without any."""
    async with (
        open_gallery(with_authentication(settings, **access)) as application,
        serve_api(application) as url,
        httpx.AsyncClient(base_url=url, timeout=20, verify=TLS_CONTEXT) as client,
    ):
        yield application, client


def make_token(
    owner: object = "maya",
    scope: object = READ_WRITE_SCOPES,
    *,
    key: Any = JWT_SECRET,
    algorithm: str = "HS256",
    **claims: Any,
):
    """A JWT for a day; a claim that is `None` is left out."""
    all_claims = {"sub": owner, "scope": scope, "exp": int(time.time()) + 86_400, **claims}
    kept = {name: value for name, value in all_claims.items() if value is not None}
    headers = {"kid": kid} if (kid := kept.pop("kid", None)) else None
    payload = json.dumps(kept).encode()  # unchanged: PyJWT would check the claims
    return jwt.PyJWS().encode(payload, key, algorithm, {"typ": "JWT", **(headers or {})})


def secret_of(key: str) -> str:
    """The secret part of an API key's text; it may itself contain the separator `_`."""
    return key.strip().split("_", 2)[2]


def unique_photo() -> bytes:
    """A photo that has not been uploaded before."""
    return photos.a_jpeg(comment=secrets.token_hex(8).encode())


def bearer_headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def create_api_key(
    application: Gallery, owner: str = "maya", *scopes: str, lifetime: timedelta | None = None
) -> tuple[str, str]:
    """The id and the text of a new API key."""
    allowed = [Scope(scope) for scope in scopes or READ_WRITE_SCOPES.split()]
    key, text = await application.access.keys.create(Owner(owner), "a test", allowed, lifetime)
    return key.id, text


async def create_ticket(client: httpx.AsyncClient, headers: dict[str, str]) -> str:
    answer = await client.post("/api/v1/notifications/ticket", headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert 0 < answer.json()["expiresIn"] <= 300
    return answer.json()["ticket"]


async def run_command(environment: dict[str, str], *words: str) -> tuple[int, str, str]:
    """Runs `gallery …` as an operator does; returns its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        str(GALLERY), *words, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def create_upload_ticket(client: httpx.AsyncClient, headers: dict[str, str] | None = None, **wanted: Any) -> Any:
    """The answer to the creation: `ticket`, `expiresIn`, `id`."""
    answer = await client.post("/api/v1/uploads/ticket", json=wanted, headers=headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store"), answer.text
    return answer.json()


def upload_headers(ticket: str) -> dict[str, str]:
    return {"Authorization": f"Upload {ticket}"}
