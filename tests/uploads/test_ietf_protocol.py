"""What draft-ietf-httpbis-resumable-upload demands of a server, by its sections."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import ietf_requests as ietf
import photos
import tus_requests as tus
from conftest import running_application
from http_sockets import connect

PHOTO = photos.a_jpeg()
SIZE = len(PHOTO)
MAX_BYTES = 4 * SIZE


@pytest.fixture
async def client(environment) -> AsyncIterator[httpx.AsyncClient]:
    async with running_application(environment, GALLERY_UPLOAD__MAX_BYTES=str(MAX_BYTES), **ietf.ON) as (_, client):
        yield client


def digest(name: str, content: bytes) -> dict[str, str]:
    return {name: f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"}


def origin_of(client: httpx.AsyncClient) -> str:
    return str(client.base_url).rstrip("/")


async def chunked(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


# --- creation and offset (4.1, 4.2) -----------------------------------------------------------------------------------


async def test_options_name_the_media_type_and_the_limits(client):
    answer = await client.options(ietf.BASE)
    assert answer.headers["Accept-Patch"] == "application/partial-upload"
    assert answer.headers["Upload-Limit"] == f"max-size={MAX_BYTES}"


async def test_a_beginning_without_bytes(client):
    answer = await ietf.create(client, SIZE)
    assert (answer.status_code, answer.headers["Upload-Complete"], answer.headers["Upload-Offset"]) == (201, "?0", "0")
    assert answer.headers["Upload-Limit"].startswith(f"max-size={MAX_BYTES}, max-age=86")
    assert answer.headers["Location"].startswith(f"{origin_of(client)}{ietf.BASE}/")


async def test_a_beginning_with_some_bytes(client):
    begun = await client.post(ietf.BASE, content=PHOTO[:1000], headers=ietf.NOT_LAST)
    assert (begun.status_code, begun.headers["Upload-Offset"]) == (201, "1000")
    answer = await ietf.append(client, begun.headers["Location"], 1000, PHOTO[1000:], last=True)
    assert answer.json()["sha256"] == hashlib.sha256(PHOTO).hexdigest()


@pytest.mark.parametrize("length", [None, SIZE])
async def test_head_tells_the_state_and_is_not_cached(client, length):
    url = await ietf.created(client, length)
    await ietf.append(client, url, 0, PHOTO[:1000])
    found = (await client.head(url)).headers
    assert (found["Upload-Offset"], found["Upload-Complete"], found["Cache-Control"]) == ("1000", "?0", "no-store")
    assert found.get("Upload-Length") == (None if length is None else str(length))
    assert found["Upload-Limit"].startswith(f"max-size={MAX_BYTES}, max-age=")
    assert (await client.get(url)).json().get("size") == length


async def test_a_wrong_offset(client):
    url = await ietf.created(client)
    await ietf.append(client, url, 0, PHOTO[:1000])
    answer = await ietf.append(client, url, 500, PHOTO[500:])
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, "1000")
    problem = answer.json()
    assert problem["type"] == f"{ietf.PROBLEM_TYPES}mismatching-upload-offset"
    assert (problem["code"], problem["expected-offset"], problem["provided-offset"]) == ("offset_mismatch", 1000, 500)


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Upload-Complete": "1"}, "Upload-Complete"),
        ({"Upload-Complete": ""}, "Upload-Complete"),
        ({"Upload-Offset": "-1"}, "Upload-Offset"),
        ({"Upload-Offset": "x"}, "Upload-Offset"),
        ({"Upload-Offset": "1.5"}, "Upload-Offset"),
        ({"Upload-Offset": "?1"}, "Upload-Offset"),
        ({"Content-Digest": "sha-256=x"}, "Content-Digest"),
    ],
)
async def test_a_header_of_another_form_counts_as_absent_and_is_named(client, headers, named):
    url = await ietf.created(client)
    answer = await ietf.append(client, url, 0, PHOTO, headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert named in answer.json()["detail"]


async def test_the_body_must_be_the_file(client):
    answer = await ietf.send(client, b"--x", {"Content-Type": "multipart/form-data; boundary=x"})
    assert (answer.status_code, answer.headers["Accept-Post"]) == (
        415,
        "image/*, application/octet-stream, application/partial-upload",
    )


# --- completeness and length (3.1.2, 3.1.3) ---------------------------------------------------------------------------


async def test_a_complete_upload_takes_nothing_more(client):
    url = await ietf.created(client)
    image = (await ietf.append(client, url, 0, PHOTO, last=True)).json()["id"]
    more = await ietf.append(client, url, SIZE, b"x")
    assert (more.status_code, more.json()["type"]) == (400, f"{ietf.PROBLEM_TYPES}inconsistent-upload-length")
    again = await ietf.append(client, url, SIZE, b"", last=True)
    assert (again.status_code, again.json()["type"]) == (400, f"{ietf.PROBLEM_TYPES}completed-upload")
    found = (await client.head(url)).headers
    assert (found["Upload-Complete"], found["Gallery-Image"]) == ("?1", image)


@pytest.mark.parametrize(
    ("headers", "content", "last"),
    [
        ({"Upload-Length": str(SIZE + 1)}, b"", False),
        ({}, PHOTO[:-1], True),
        ({}, PHOTO + b"x", True),
        ({}, PHOTO + b"x", False),
        ({"Upload-Length": str(SIZE + 1)}, PHOTO, True),
        ({}, chunked(PHOTO[:1000]), True),
    ],
)
async def test_lengths_that_do_not_fit_change_nothing(client, headers, content, last):
    url = await ietf.created(client, SIZE)
    answer = await ietf.append(client, url, 0, content, headers, last=last)
    assert (answer.status_code, answer.json()["code"]) == (400, "inconsistent_length")
    assert answer.json()["type"] == f"{ietf.PROBLEM_TYPES}inconsistent-upload-length"
    offset = int((await client.head(url)).headers["Upload-Offset"])
    assert (await ietf.append(client, url, offset, PHOTO[offset:], last=True)).status_code == 201


async def test_more_bytes_than_the_length_end_the_upload(client):
    """The length is counted, also where no `Content-Length` says it."""
    url = await ietf.created(client, SIZE)
    answer = await ietf.append(client, url, 0, chunked(PHOTO, b"x"))
    assert (answer.status_code, answer.json()["code"]) == (413, "longer_than_said")
    assert (await client.head(url)).status_code == 413
    assert (await ietf.append(client, url, 0, PHOTO, last=True)).status_code == 413


@pytest.mark.parametrize("content", [bytes(MAX_BYTES + 1), chunked(PHOTO, bytes(MAX_BYTES))])
async def test_a_file_of_unknown_length_is_bounded(client, content):
    url = await ietf.created(client)
    answer = await ietf.append(client, url, 0, content)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["Upload-Limit"] == f"max-size={MAX_BYTES}"
    answer = await ietf.create(client, MAX_BYTES + 1)
    assert (answer.status_code, answer.headers["Upload-Limit"]) == (413, f"max-size={MAX_BYTES}")


@pytest.mark.parametrize("content", [bytes(SIZE), chunked(PHOTO[:1000], bytes(SIZE))])
async def test_a_file_of_unknown_length_is_bounded_by_the_quota(environment, content):
    quota = {"GALLERY_UPLOAD__QUOTA_BYTES": str(SIZE + 500)}
    async with running_application(environment, **quota, **ietf.ON) as (_, client):
        url = await ietf.created(client)
        assert (await ietf.append(client, url, 0, PHOTO[:1000])).status_code == 204
        answer = await ietf.append(client, url, 1000, content)
        assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
        offset = int((await client.head(url)).headers["Upload-Offset"])  # what was within the quota is kept
        answer = await ietf.append(client, url, offset, b"", {"Upload-Length": str(SIZE + 501)})
        assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")


async def test_an_empty_file(client):
    url = await ietf.created(client)
    for answer in (await ietf.append(client, url, 0, b"", last=True), await ietf.send(client, b"")):
        assert (answer.status_code, answer.json()["code"]) == (415, "not_a_picture")


# --- answers (4.4) and digests (10) -----------------------------------------------------------------------------------


async def test_a_refusal_says_that_the_file_was_there(client):
    url = await ietf.created(client)
    answer = await ietf.append(client, url, 0, b"no picture", last=True)
    assert (answer.status_code, answer.headers["Upload-Complete"]) == (415, "?1")
    again = await ietf.append(client, url, 0, b"no picture", last=True)
    assert (again.status_code, again.json()["code"]) == (415, "not_a_picture")


async def test_the_digest_of_the_file(client):
    good = await ietf.send(client, PHOTO, digest("Repr-Digest", PHOTO))
    assert good.status_code == 201
    bad = await ietf.send(client, PHOTO, digest("Repr-Digest", b"another"))
    assert (bad.status_code, bad.json()["code"], bad.headers["Upload-Complete"]) == (422, "digest_mismatch", "?1")


async def test_the_digest_of_a_request(client):
    url = await ietf.created(client)
    bad = await ietf.append(client, url, 0, PHOTO, digest("Content-Digest", PHOTO[1:]))
    assert (bad.status_code, bad.json()["code"]) == (422, "digest_mismatch")
    assert (await client.head(url)).headers["Upload-Offset"] == "0"
    half = await ietf.append(client, url, 0, PHOTO[:1000], digest("Content-Digest", PHOTO[:1000]))
    assert half.status_code == 204
    assert (await ietf.append(client, url, 1000, PHOTO[1000:], last=True)).status_code == 201


# --- 104 (5), and other protocols -------------------------------------------------------------------------------------


async def first_head(client: httpx.AsyncClient, *headers: str) -> bytes:
    """The head of the first response to a creation of which no byte has been sent yet."""
    async with connect(client.base_url) as (reader, writer):
        lines = [f"POST {ietf.BASE} HTTP/1.1", f"Host: {client.base_url.netloc.decode()}", f"Content-Length: {SIZE}"]
        writer.write(
            "\r\n".join([*lines, "Content-Type: image/jpeg", "Upload-Complete: ?1", *headers, "", ""]).encode()
        )
        try:
            return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 1)
        except TimeoutError:
            return b""


@pytest.mark.parametrize("version", ["6", "7", "8"])
async def test_a_104_comes_before_the_first_byte_and_names_the_version(client, version):
    head = await first_head(client, f"Upload-Draft-Interop-Version: {version}")
    assert head.startswith(b"HTTP/1.1 104 Upload Resumption Supported\r\n")
    assert f"\r\nUpload-Draft-Interop-Version: {version}\r\n".encode() in head
    assert f"\r\nLocation: {origin_of(client)}{ietf.BASE}/".encode() in head
    assert f"\r\nUpload-Limit: max-size={MAX_BYTES}, max-age=".encode() in head


@pytest.mark.parametrize("headers", [(), ("Upload-Draft-Interop-Version: 3",), ("Upload-Draft-Interop-Version: 99",)])
async def test_a_client_of_another_version_gets_none(client, headers):
    assert await first_head(client, *headers) == b""


async def test_a_104_does_not_replace_the_100(client):
    async with connect(client.base_url) as (reader, writer):
        lines = [f"POST {ietf.BASE} HTTP/1.1", f"Host: {client.base_url.netloc.decode()}", f"Content-Length: {SIZE}"]
        more = ["Upload-Complete: ?1", "Upload-Draft-Interop-Version: 8", "Expect: 100-continue", "", ""]
        writer.write("\r\n".join([*lines, "Content-Type: image/jpeg", *more]).encode())
        heads = [await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) for _ in range(2)]
        assert [head.split()[1] for head in heads] == [b"104", b"100"]
        writer.write(PHOTO)
        assert b" 201 " in await asyncio.wait_for(reader.readline(), 10)


async def test_uploads_of_another_protocol_are_not_found(client):
    by_tus, by_ietf = await tus.created(client, SIZE), await ietf.created(client, SIZE)
    for answer in (await ietf.append(client, by_tus, 0, PHOTO), await tus.patch(client, by_ietf, 0, PHOTO)):
        assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")


async def test_without_the_setting_there_is_only_tus(environment):
    async with running_application(environment) as (_, client):
        options = await client.options(ietf.BASE)
        assert "Accept-Patch" not in options.headers
        assert (await ietf.create(client, SIZE)).status_code == 412
        url = await tus.created(client, SIZE)
        assert (await ietf.append(client, url, 0, PHOTO, tus.VERSION)).json()["code"] == "not_a_chunk"


async def test_pages_of_other_origins_read_its_headers(environment: dict[str, str]):
    async with running_application(environment, CORS_ORIGIN="https://app.example", **ietf.ON) as (_, client):
        origin: dict[str, Any] = {"Origin": "https://app.example"}
        answer = await ietf.create(client, SIZE, origin)
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "Upload-Offset", "Upload-Complete", "Upload-Limit", "Upload-Length"} <= set(exposed)
        asked = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "upload-complete"}
        allowed = (await client.options(ietf.BASE, headers=origin | asked)).headers["Access-Control-Allow-Headers"]
        assert {"Upload-Complete", "Upload-Offset", "Upload-Length", "Repr-Digest"} <= set(allowed.split(", "))
