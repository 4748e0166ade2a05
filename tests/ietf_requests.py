"""Requests of the IETF's resumable uploads (draft-ietf-httpbis-resumable-upload), as its clients send them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

BASE = "/api/v1/uploads"
ON = {"GALLERY_UPLOAD__IETF": "true"}
LAST, NOT_LAST = {"Upload-Complete": "?1"}, {"Upload-Complete": "?0"}
PARTIAL = {"Content-Type": "application/partial-upload"}
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"


def named(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}"}


async def create(
    client: httpx.AsyncClient,
    size: int | None = None,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, Any] | None = None,
) -> httpx.Response:
    """Begin an upload without any of its bytes."""
    length = {} if size is None else {"Upload-Length": str(size)}
    return await client.post(BASE, params=fields, headers={**NOT_LAST, **length, **(headers or {})})


async def created(client: httpx.AsyncClient, size: int | None = None, headers: Mapping[str, str] | None = None) -> str:
    """The URL of a new upload."""
    answer = await create(client, size, headers)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


async def send(
    client: httpx.AsyncClient, content: Any, headers: Mapping[str, str] | None = None, **fields: Any
) -> httpx.Response:
    """The whole file in one request, as URLSession sends it."""
    kind = {"Content-Type": "image/jpeg"}
    return await client.post(BASE, params=fields, content=content, headers={**LAST, **kind, **(headers or {})})


async def append(
    client: httpx.AsyncClient,
    url: str,
    offset: int,
    content: Any,
    headers: Mapping[str, str] | None = None,
    *,
    last: bool = False,
) -> httpx.Response:
    said = LAST if last else NOT_LAST
    all_headers = {**PARTIAL, **said, "Upload-Offset": str(offset), **(headers or {})}
    return await client.patch(url, content=content, headers=all_headers)
