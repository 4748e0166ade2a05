"""Requests of tus 1.0.0, as its clients send them."""

import base64
import hashlib
from typing import Any

import httpx

BASE = "/api/v1/uploads"
VERSION = {"Tus-Resumable": "1.0.0"}
CHUNK = {"Content-Type": "application/offset+octet-stream"}


def metadata(**values: str) -> dict[str, str]:
    pairs = [f"{key} {base64.b64encode(value.encode()).decode()}".strip() for key, value in values.items()]
    return {"Upload-Metadata": ",".join(pairs)} if pairs else {}


def checksum(content: bytes, algorithm: str = "sha256") -> dict[str, str]:
    digest = base64.b64encode(hashlib.new(algorithm, content).digest()).decode()
    return {"Upload-Checksum": f"{algorithm} {digest}"}


async def create(client: httpx.AsyncClient, size: int, headers: dict[str, str] | None = None, **values: str) -> Any:
    return await client.post(
        BASE, headers={**VERSION, "Upload-Length": str(size), **metadata(**values), **(headers or {})}
    )


async def created(client: httpx.AsyncClient, size: int, headers: dict[str, str] | None = None, **values: str) -> str:
    """The URL of a new upload."""
    answer = await create(client, size, headers, **values)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


async def patch(
    client: httpx.AsyncClient, url: str, offset: int, content: Any, headers: dict[str, str] | None = None
) -> httpx.Response:
    all_headers = {**VERSION, **CHUNK, "Upload-Offset": str(offset), **(headers or {})}
    return await client.patch(url, content=content, headers=all_headers)


async def head(client: httpx.AsyncClient, url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return await client.head(url, headers={**VERSION, **(headers or {})})


async def send(client: httpx.AsyncClient, content: bytes, chunk: int | None = None, **values: str) -> httpx.Response:
    """Upload the content in chunks of that size; the answer to the last one."""
    url = await created(client, len(content), **values)
    size = chunk or len(content)
    for offset in range(0, len(content), size):
        answer = await patch(client, url, offset, content[offset : offset + size])
        if answer.status_code != 204:
            break
    return answer
