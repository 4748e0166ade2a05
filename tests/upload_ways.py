"""The ways to upload, each as one call, and all that a client sees of an upload afterwards."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

import httpx
from msgspec import Struct

import ietf_requests as ietf
import tus_requests as tus

IMAGES = "/api/v1/images"
Fields = Mapping[str, Any]


class File(Struct, frozen=True, kw_only=True):
    """A file, what its sender says of it, and the headers of all requests."""

    content: bytes
    name: str = "lake.jpg"
    fields: dict[str, Any] = {}
    sha256: str | None = None
    key: str | None = None
    headers: dict[str, str] = {}


class Way(Protocol):
    """Sends a file; the answer is that of the request that has ended the upload, or was refused."""

    async def __call__(self, client: httpx.AsyncClient, file: File) -> httpx.Response: ...


async def by_form(client: httpx.AsyncClient, file: File) -> httpx.Response:
    data = file.fields | ({"sha256": file.sha256} if file.sha256 else {})
    headers = file.headers | _key_header(file)
    return await client.post(IMAGES, files={"file": (file.name, file.content)}, data=data, headers=headers)


async def as_body(client: httpx.AsyncClient, file: File) -> httpx.Response:
    query = file.fields | ({"sha256": file.sha256} if file.sha256 else {})
    name = httpx.QueryParams({"n": file.name}).__str__()[2:].replace("+", "%20")
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
    }
    return await client.post(
        IMAGES, params=query, content=file.content, headers=file.headers | headers | _key_header(file)
    )


async def by_tus(client: httpx.AsyncClient, file: File) -> httpx.Response:
    values = {name: json.dumps(value) if name == "tags" else value for name, value in file.fields.items()}
    values |= {name: value for name, value in (("sha256", file.sha256), ("idempotencyKey", file.key)) if value}
    begun = await tus.create(client, len(file.content), file.headers, filename=file.name, **values)
    if begun.status_code != 201 or "Gallery-Image" in begun.headers:
        return begun
    url, half = begun.headers["Location"], len(file.content) // 2
    first = await tus.patch(client, url, 0, file.content[:half], file.headers)
    if first.status_code != 204:
        return first
    return await tus.patch(client, url, half, file.content[half:], file.headers)


async def directly(client: httpx.AsyncClient, file: File) -> httpx.Response:
    body = {"name": file.name, "size": len(file.content), **file.fields}
    body |= {"sha256": file.sha256} if file.sha256 else {}
    begun = await client.post(f"{tus.BASE}/direct", json=body, headers=file.headers | _key_header(file))
    if begun.status_code != 201:
        return begun
    await put_parts(client, begun.json(), file.content)
    return await client.post(begun.json()["complete"], headers=file.headers)


async def by_ietf(client: httpx.AsyncClient, file: File) -> httpx.Response:
    """In three requests: the beginning, and two halves."""
    query = file.fields | ({"sha256": file.sha256} if file.sha256 else {})
    size, half = len(file.content), len(file.content) // 2
    begun = await ietf.create(client, size, file.headers | ietf.named(file.name) | _key_header(file), query)
    if begun.status_code != 201 or "Gallery-Image" in begun.headers:
        return begun
    url = begun.headers["Location"]
    first = await ietf.append(client, url, 0, file.content[:half], file.headers)
    if first.status_code != 204:
        return first
    return await ietf.append(client, url, half, file.content[half:], file.headers, last=True)


async def by_ietf_at_once(client: httpx.AsyncClient, file: File) -> httpx.Response:
    query = file.fields | ({"sha256": file.sha256} if file.sha256 else {})
    headers = file.headers | ietf.named(file.name) | _key_header(file)
    return await ietf.send(client, file.content, headers, **query)


WAYS: dict[str, Way] = {
    "form": by_form,
    "body": as_body,
    "tus": by_tus,
    "direct": directly,
    "ietf": by_ietf,
    "ietf at once": by_ietf_at_once,
}


async def put_parts(client: httpx.AsyncClient, begun: dict[str, Any], content: bytes) -> None:
    """As a browser without a credential."""
    async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as anonymous:
        for part in begun["parts"]:
            bounds = slice(part["from"], part["to"])
            answer = await anonymous.request(
                part["method"], part["url"], content=content[bounds], headers=part["headers"]
            )
            assert answer.status_code == 200, answer.text


def image_id(answer: httpx.Response) -> str:
    """Of an upload that has ended with an image."""
    assert answer.status_code in (200, 201, 204), answer.text
    return answer.headers.get("Gallery-Image") or answer.json()["id"]


def is_duplicate(answer: httpx.Response) -> bool:
    if "Gallery-Image" in answer.headers:
        return answer.headers.get("Gallery-Duplicate") == "true"
    assert (answer.status_code == 200) is answer.json()["duplicate"] or answer.headers.get("Idempotency-Replayed")
    return answer.json()["duplicate"]


def problem_of(answer: httpx.Response) -> dict[str, Any]:
    """The problem document without the request's own path and id."""
    assert answer.status_code >= 400, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    return {name: value for name, value in problem.items() if name not in ("instance", "requestId")}


def _key_header(file: File) -> dict[str, str]:
    return {} if file.key is None else {"Idempotency-Key": file.key}
