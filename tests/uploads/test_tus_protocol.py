"""What tus 1.0.0 demands of a server (https://tus.io/protocols/resumable-upload), and the headers of its requests."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

import photos
import tus_requests as tus
from conftest import running_application
from http_sockets import connect
from resumed import MIB, Running, large_photo

PHOTO = photos.a_jpeg()
LENGTH = {"Upload-Length": str(len(PHOTO))}


async def test_each_answer_names_the_version(client):
    url = await tus.created(client, len(PHOTO))
    unknown = f"{tus.BASE}/01990000-0000-7000-8000-000000000000"
    answers = [
        await client.options(tus.BASE),
        await tus.create(client, len(PHOTO)),
        await tus.create(client, 10**12),
        await tus.create(client, 5, title="x" * 121),
        await tus.head(client, url),
        await tus.head(client, unknown),
        await tus.patch(client, url, 7, PHOTO),
        await tus.patch(client, url, 0, PHOTO, {"Content-Type": "text/plain"}),
        await tus.patch(client, url, 0, PHOTO, tus.checksum(b"other")),
        await tus.patch(client, url, 0, PHOTO + b"x"),
        await tus.patch(client, url, 0, PHOTO),
        await client.delete(url, headers=tus.VERSION),
        await client.post(tus.BASE, headers=LENGTH),
    ]
    assert [answer.status_code for answer in answers] == [
        *(204, 201, 413, 422, 200, 404, 409, 415, 460, 413, 204, 204, 412)
    ]
    assert {answer.headers.get("Tus-Resumable") for answer in answers} == {"1.0.0"}
    assert answers[-1].headers["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize("version", ["0.2.2", "1.0", "2.0.0"])
async def test_another_version_changes_nothing(client, version):
    url, other = await tus.created(client, len(PHOTO)), {"Tus-Resumable": version}
    for answer in (
        await client.post(tus.BASE, headers=other | LENGTH),
        await tus.head(client, url, other),
        await tus.patch(client, url, 0, PHOTO, other),
        await client.delete(url, headers=other),
    ):
        assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")
    assert (await tus.head(client, url)).headers["Upload-Offset"] == "0"


async def test_head_tells_all_of_an_upload_and_is_not_cached(client):
    url = await tus.created(client, len(PHOTO), filename="Ä.jpg", alt="")
    await tus.patch(client, url, 0, PHOTO[:1000])
    answer = await tus.head(client, url)
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("1000", str(len(PHOTO)))
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Upload-Metadata"] == tus.metadata(filename="Ä.jpg", alt="")["Upload-Metadata"]
    missing = await tus.head(client, f"{url[:-4]}0000")
    assert (missing.status_code, "Upload-Offset" in missing.headers) == (404, False)


async def test_each_answer_says_when_the_upload_expires(client, gallery):
    created = await tus.create(client, len(PHOTO))
    url = created.headers["Location"]
    async with gallery.database.primary() as db:
        await db.execute("UPDATE upload SET expires_at = now() + interval '1 minute'")
    soon = await tus.head(client, url)
    patched = await tus.patch(client, url, 0, PHOTO[:1000])
    later = await tus.head(client, url)
    a_day = datetime.now(UTC) + timedelta(hours=24)
    for answer in (created, patched, later):
        assert abs(parsedate_to_datetime(answer.headers["Upload-Expires"]) - a_day) < timedelta(minutes=2)
    assert parsedate_to_datetime(soon.headers["Upload-Expires"]) < a_day - timedelta(hours=23)
    assert patched.headers["Upload-Expires"] == later.headers["Upload-Expires"]


async def test_a_wrong_offset_is_answered_with_the_right_one(client):
    url = await tus.created(client, len(PHOTO))
    await tus.patch(client, url, 0, PHOTO[:1000])
    answer = await tus.patch(client, url, 0, PHOTO[:1000])
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, "1000")


@pytest.mark.parametrize("kind", ["Application/Offset+Octet-Stream", "application/offset+octet-stream; charset=x"])
async def test_a_content_type_may_have_parameters(client, kind):
    url = await tus.created(client, len(PHOTO))
    assert (await tus.patch(client, url, 0, PHOTO, {"Content-Type": kind})).status_code == 204


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"Upload-Length": "abc"}, "Upload-Length"),
        ({"Upload-Length": "-1"}, "Upload-Length"),
        ({"Upload-Length": "9" * 16}, "Upload-Length"),
        ({"Upload-Defer-Length": "1"}, "Upload-Length"),
        (LENGTH | {"Upload-Concat": "partial"}, "Upload-Concat"),
        ({"Upload-Concat": "final;/a /b"}, "Upload-Concat"),
        (LENGTH | {"Upload-Metadata": "title ä".encode("latin-1").decode("latin-1")}, "Upload-Metadata"),
        (LENGTH | {"Upload-Metadata": "title !!"}, "Upload-Metadata"),
        (LENGTH | {"Upload-Metadata": f"type {'A' * 33_000}"}, "Upload-Metadata"),
        (LENGTH | tus.CHUNK | {"Upload-Checksum": "md5 AAAA"}, "Upload-Checksum"),
        (LENGTH | tus.CHUNK | {"Upload-Checksum": "sha1 !"}, "Upload-Checksum"),
    ],
)
async def test_a_malformed_header_of_a_creation_is_named(client, headers, named):
    sent = {name: value.encode("latin-1") for name, value in (tus.VERSION | headers).items()}
    answer = await client.post(tus.BASE, headers=sent, content=b"12345" if "Content-Type" in headers else b"")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert named in answer.json()["detail"]


@pytest.mark.parametrize("offset", ["", "-1", "x", "1.5", "9" * 16])
async def test_a_malformed_offset_is_named(client, offset):
    url = await tus.created(client, len(PHOTO))
    answer = await tus.patch(client, url, 0, PHOTO, {"Upload-Offset": offset})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert "Upload-Offset" in answer.json()["detail"]


async def test_the_longest_fields_fit_into_the_metadata(client):
    text = "😀"
    fields = {"title": text * 120, "description": text * 500, "alt": text * 500, "filename": f"{text * 251}.jpg"}
    tags = '["' + '","'.join(f"{n:02}{text * 48}" for n in range(50)) + '"]'
    url = await tus.created(client, len(PHOTO), tags=tags, **fields)
    image = (await tus.patch(client, url, 0, PHOTO)).headers["Content-Location"]
    found = (await client.get(image)).json()
    assert (found["title"], found["alt"], len(found["tags"])) == (fields["title"], fields["alt"], 50)


# --- bytes on a socket ------------------------------------------------------------------------------------------------


def head_of(client: httpx.AsyncClient, url: str, *headers: str, version: str = "1.1") -> bytes:
    lines = [
        f"PATCH {httpx.URL(url).path} HTTP/{version}",
        f"Host: 127.0.0.1:{client.base_url.port}",
        "Tus-Resumable: 1.0.0",
        "Content-Type: application/offset+octet-stream",
        "Upload-Offset: 0",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_more_bytes_than_are_left_are_refused_before_they_are_sent(client):
    url = await tus.created(client, len(PHOTO))
    async with connect(client.base_url) as (reader, writer):
        writer.write(head_of(client, url, f"Content-Length: {len(PHOTO) + 1}", "Expect: 100-continue"))
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    assert (await tus.head(client, url)).headers["Upload-Offset"] == "0"


async def test_a_client_may_wait_until_its_bytes_are_wanted(client):
    url = await tus.created(client, len(PHOTO))
    async with connect(client.base_url) as (reader, writer):
        writer.write(head_of(client, url, f"Content-Length: {len(PHOTO)}", "Expect: 100-continue"))
        assert b" 100 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.write(PHOTO)
        assert b" 204 " in await asyncio.wait_for(reader.readline(), 10)


async def test_a_client_of_http_1_0(client):
    url = await tus.created(client, len(PHOTO))
    async with connect(client.base_url) as (reader, writer):
        writer.write(head_of(client, url, f"Content-Length: {len(PHOTO)}", version="1.0") + PHOTO)
        assert b" 204 " in await asyncio.wait_for(reader.readline(), 10)


async def test_head_tells_what_is_safe_while_another_request_writes(running: Running):
    _, client = running
    content = large_photo(20 * MIB)
    url = await tus.created(client, len(content))
    seen: list[str] = []

    async def body() -> AsyncIterator[bytes]:
        yield content[: 8 * MIB + 5]
        async with asyncio.timeout(10):
            while (await tus.head(client, url)).headers["Upload-Offset"] == "0":
                await asyncio.sleep(0.05)
        seen.append((await tus.head(client, url)).headers["Upload-Offset"])
        yield content[8 * MIB + 5 :]

    answer = await tus.patch(client, url, 0, body(), {"Content-Length": str(len(content))})
    assert (answer.status_code, seen) == (204, [str(8 * MIB)])


async def test_what_a_slow_client_has_sent_is_kept(environment):
    slow = {"GALLERY_SERVE__BODY_GRACE": "0.5", "GALLERY_SERVE__MIN_BODY_RATE": "100000"}
    async with running_application(environment, **slow) as (_, client):
        url = await tus.created(client, len(PHOTO))
        async with connect(client.base_url) as (reader, writer):
            writer.write(head_of(client, url, f"Content-Length: {len(PHOTO)}") + PHOTO[:5000])
            assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
        assert (await tus.head(client, url)).headers["Upload-Offset"] == "5000"
        assert (await tus.patch(client, url, 5000, PHOTO[5000:])).status_code == 204


async def test_values_of_metadata_are_base64(client):
    encoded = base64.b64encode(b"\xff").decode()
    answer = await client.post(tus.BASE, headers=tus.VERSION | LENGTH | {"Upload-Metadata": f"title {encoded}"})
    assert answer.json()["errors"] == [{"pointer": "/title", "detail": "is not valid UTF-8"}]
