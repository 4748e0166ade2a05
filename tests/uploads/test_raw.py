"""Uploads whose body is the picture itself, as `curl --data-binary` and many programs send it."""

import asyncio
import base64
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

import photos
from factories import post, unique_photo, wait_until_settled
from http_sockets import connect, read_rest
from scraping import scrape, wait_for_requests

IMAGES = "/api/v1/images"
JPEG = {"Content-Type": "image/jpeg"}
HEAD = b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
LARGE = photos.a_jpeg() + bytes(3_000_000)  # more than stays in memory


async def send(
    client: httpx.AsyncClient, content: bytes | None = None, query: str = "", headers: Mapping[str, str] | None = None
) -> httpx.Response:
    body = unique_photo() if content is None else content
    return await client.post(
        f"{IMAGES}?{query}" if query else IMAGES, content=body, headers={**JPEG, **(headers or {})}
    )


async def stored(gallery) -> int:
    """Images, objects and keys: what an upload that was refused may not leave."""
    async with gallery.database.primary() as db:
        return await db.fetchval(
            "SELECT (SELECT count(*) FROM object) + (SELECT count(*) FROM image) + (SELECT count(*) FROM idempotency)"
        )


def open_spools(gallery) -> int:
    """Files without a name that the server, which is in this process, has open in its object store."""
    folder = str(gallery.settings.data_path / "objects")
    links = [file.readlink() for file in Path("/proc/self/fd").iterdir() if os.path.lexists(file)]
    return sum(str(link).startswith(folder) for link in links)


# --- what arrives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "image/png",
        "IMAGE/*",
        "image/x-unknown; q=1",
        "application/octet-stream",
        "Application/Octet-Stream;a=b",
    ],
)
@pytest.mark.parametrize("content", [photos.a_jpeg(), LARGE], ids=["small", "large"])
async def test_the_content_decides_what_a_picture_is_and_not_its_type(client, content_type, content):
    answer = await send(client, content, headers={"Content-Type": content_type})
    image = answer.json()
    assert (answer.status_code, image["mimeType"], image["size"]) == (201, "image/jpeg", len(content))
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert answer.headers["location"] == f"{IMAGES}/{image['id']}"
    assert (await client.get(f"{IMAGES}/{image['id']}/original")).content == content


async def test_each_field_of_the_form_may_be_in_the_query(client):
    query = (
        "title=Lake+at%20dawn&description=A%20%26%20B%0AC&alt=Z%C3%BCrich&tags=lake&tags=summer%2C+2026&tags=lake"
        "&visibility=public&lane=bulk&focus=0.25,0.5"
    )
    answer = await send(client, query=query)
    image = answer.json()
    assert answer.status_code == 201, answer.text
    assert (image["title"], image["description"], image["alt"]) == ("Lake at dawn", "A & B\nC", "Zürich")
    assert image["tags"] == ["lake", "summer, 2026"]
    assert (image["visibility"], image["focus"]) == ("public", {"x": 0.25, "y": 0.5})


async def test_the_lane_is_that_of_the_query(client, gallery):
    await send(client, query="lane=bulk")
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT lane FROM image") == "bulk"


async def test_empty_fields_are_absent_and_an_image_needs_none(client):
    for query in ("", "title=&description=&alt=&tags=&visibility=&lane=&focus=&sha256="):
        image = (await send(client, query=query)).json()
        assert (image["title"], image["originalName"], image["tags"]) == ("Untitled", "", [])
        assert image["visibility"] == "private"


NAMES = {
    'attachment; filename="lake.jpg"': "lake.jpg",
    "inline; filename=lake.jpg": "lake.jpg",
    "attachment; filename*=UTF-8''Z%C3%BCrich%20See.jpg": "Zürich See.jpg",
    "attachment; filename=\"Zurich.jpg\"; filename*=UTF-8''Z%C3%BCrich.jpg": "Zürich.jpg",
    "attachment; filename*=iso-8859-1'de'Z%FCrich.jpg": "Zürich.jpg",
    "attachment; filename=\"Zurich.jpg\"; filename*=klingon''Z%FCrich.jpg": "Zurich.jpg",
    'attachment; filename="Zürich.jpg"': "Zürich.jpg",
    'attachment; filename="a \\"b\\".jpg"': 'a "b".jpg',
    'form-data; name="file"; filename="lake.jpg"': "lake.jpg",
    'attachment; filename="a\tb.jpg"': "ab.jpg",
    'attachment; filename="' + "x" * 300 + '.jpg"': "x" * 238 + "…" + "x" * 12 + ".jpg",
    "attachment; filename=" + "x" * 5000 + "y" * 9000: "x" * 238 + "…" + "x" * 16,
    "attachment": "",
    ";;;==": "",
}


@pytest.mark.parametrize("disposition", NAMES)
async def test_the_name_is_that_of_the_content_disposition(client, disposition):
    headers = {b"Content-Disposition": disposition.encode(), b"Content-Type": b"image/jpeg"}
    answer = await client.post(IMAGES, content=unique_photo(), headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.json()["originalName"] == NAMES[disposition]
    stem = NAMES[disposition].removesuffix(".jpg")
    assert answer.json()["title"] == (stem[:120] or "Untitled")


async def test_a_raw_upload_is_rendered_and_announced_like_any_other(client, processing):
    image = (await send(client, photos.a_jpeg(480, 360))).json()
    await processing.process(image["id"])
    settled = await wait_until_settled(client, image["id"])
    assert (settled["status"], settled["width"]) == ("READY", 480)


async def test_a_duplicate_of_either_way_is_found_by_the_other(client):
    first = await send(client, LARGE, "title=Lake")
    again = await post(client, LARGE, title="Sea")
    once_more = await send(client, LARGE, "title=Sea")
    assert [answer.status_code for answer in (first, again, once_more)] == [201, 200, 200]
    assert again.json() == once_more.json() == {**first.json(), "duplicate": True}


# --- how it arrives ---------------------------------------------------------------------------------------------------


async def test_chunks_without_a_length_are_one_file(client):
    async def chunks():
        for start in range(0, len(LARGE), 100_001):
            yield LARGE[start : start + 100_001]

    answer = await client.post(IMAGES, content=chunks(), headers=JPEG)
    assert (answer.status_code, answer.json()["size"]) == (201, len(LARGE))
    assert answer.json()["sha256"] == hashlib.sha256(LARGE).hexdigest()


async def test_a_client_of_http_1_0_is_answered(client):
    photo = unique_photo()
    async with connect(client.base_url) as (reader, writer):
        head = b"POST /api/v1/images?title=Lake HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(photo) + photo)
        answer = await read_rest(reader)
    assert answer.startswith((b"HTTP/1.1 201", b"HTTP/1.0 201"))
    assert b'"title":"Lake"' in answer


async def test_a_client_that_waits_for_100_continue_gets_it(client):
    photo = unique_photo()
    async with connect(client.base_url) as (reader, writer):
        head = (
            b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\nExpect: 100-continue\r\n"
        )
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(photo))
        assert b" 100 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.write(photo)
        assert b" 201 " in await asyncio.wait_for(reader.readline(), 10)


@pytest.mark.parametrize("framing", [b"Content-Length: 9000000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("sent", [b"", photos.a_jpeg(), LARGE], ids=["nothing", "small", "large"])
async def test_half_a_body_leaves_nothing(client, gallery, framing, sent):
    """A picture that would be whole by itself, too: the connection breaks before the announced end."""
    before = await scrape(client)
    with capture_logs() as logged:
        async with connect(client.base_url) as (_, writer):
            chunk = b"%x\r\n%b\r\n" % (len(sent), sent) if b"chunked" in framing and sent else sent
            writer.write(HEAD + b"Idempotency-Key: 4f7c1e\r\n" + framing + b"\r\n\r\n" + chunk)
            await writer.drain()
            await asyncio.sleep(0.2)
        await wait_for_requests(client, before, 1, method="POST", route=IMAGES)
    assert not [line for line in logged if line["log_level"] in ("warning", "error")]
    async with asyncio.timeout(10):
        while await stored(gallery):  # the key is released behind the answer
            await asyncio.sleep(0.05)
    assert open_spools(gallery) == 0
    assert (await send(client, sent or None, headers={"Idempotency-Key": "4f7c1e"})).status_code == 201


async def test_a_file_of_the_limit_fits_and_one_byte_more_does_not(client, gallery):
    limit = gallery.settings.upload.max_bytes
    assert limit == 10 * 1024 * 1024
    whole = photos.a_jpeg().ljust(limit, b"\0")

    async def chunks():
        yield whole
        yield b"\0"

    for content in (whole + b"\0", chunks()):
        answer = await client.post(IMAGES, content=content, headers=JPEG)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert "(GALLERY_UPLOAD__MAX_BYTES=10485760)" in answer.json()["detail"]
    assert await stored(gallery) == 0
    assert (await send(client, whole)).status_code == 201


async def test_a_declared_size_beyond_the_limit_is_refused_before_it_is_sent(client):
    async with connect(client.base_url) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 10485761\r\n\r\n")
        assert b" 413 " in await asyncio.wait_for(reader.readline(), 5)


async def test_a_large_file_is_in_the_object_store_while_it_arrives(client, gallery):
    async with connect(client.base_url) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE[:200_000])
        await writer.drain()
        await asyncio.sleep(0.2)
        assert open_spools(gallery) == 0, "it fits into memory so far"
        writer.write(LARGE[200_000:400_000])
        async with asyncio.timeout(10):
            while open_spools(gallery) != 1:
                await asyncio.sleep(0.01)
        writer.write(LARGE[400_000:])
        assert b" 201 " in await asyncio.wait_for(reader.readline(), 10)
    assert open_spools(gallery) == 0


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", [{}, {"Transfer-Encoding": "chunked"}])
async def test_an_empty_body_is_named(client, framing):
    async def nothing():
        return
        yield b""

    answer = await client.post(IMAGES, content=nothing() if framing else b"", headers=JPEG)
    assert (answer.status_code, answer.json()["code"]) == (415, "not_a_picture")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("title=" + "x" * 121, "/title"),
        ("title=a%00b", "/title"),
        ("title=a&title=b", "/title"),
        ("description=" + "x" * 501, "/description"),
        ("visibility=secret", "/visibility"),
        ("lane=fast", "/lane"),
        ("tags=ok&tags=" + "x" * 51, "/tags/1"),
        ("focus=2,2", "/focus"),
        ("colour=red", "/colour"),
        ("colour", "/colour"),
        ("file=x", "/file"),
        ("a%2Fb=red", "/a~1b"),
        ("title=Z%FCrich", "/title"),
        ("title=%ED%A0%80", "/title"),
    ],
)
async def test_an_invalid_field_is_named(client, gallery, query, pointer):
    answer = await send(client, query=query)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert await stored(gallery) == 0


async def test_an_unknown_field_is_refused_before_the_body_is_sent(client):
    async with connect(client.base_url) as (reader, writer):
        head = b"POST /api/v1/images?colour=red HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"
        writer.write(head + b"Content-Length: 100000\r\n\r\n")
        assert b" 422 " in await asyncio.wait_for(reader.readline(), 5)
    problem = (await send(client, query="colour=red")).json()
    assert "title, description, alt, tags, visibility, lane, focus, sha256" in problem["errors"][0]["detail"]


async def test_a_picture_that_is_none_is_refused(client, gallery):
    answer = await send(client, b"no picture")
    assert (answer.status_code, answer.json()["code"]) == (415, "not_a_picture")
    assert "accept-post" not in answer.headers, "the type was accepted, the content was not"
    assert await stored(gallery) == 0


async def test_other_methods_are_as_before(client):
    for method in ("HEAD", "OPTIONS"):
        answer = await client.request(method, IMAGES, headers=JPEG)
        assert answer.status_code in (200, 204)
        assert answer.content == b""
    assert (await client.put(IMAGES, content=unique_photo(), headers=JPEG)).status_code == 405


# --- sent again -------------------------------------------------------------------------------------------------------

KEY = {"Idempotency-Key": "4f7c1e"}


async def test_a_retry_gets_the_first_answer_by_either_way(client):
    photo = unique_photo()
    disposition = {"Content-Disposition": 'attachment; filename="lake.jpg"'}
    first = await send(client, photo, "title=Lake&tags=a&tags=b", {**KEY, **disposition})
    again = await send(client, photo, "tags=a&title=Lake&tags=b", {**KEY, **disposition})
    as_form = await post(client, photo, headers=KEY, title="Lake", tags=["a", "b"])
    assert first.status_code == 201
    for answer in (again, as_form):
        assert (answer.status_code, answer.content) == (201, first.content)
        assert answer.headers["idempotency-replayed"] == "true"
    other = await send(client, photo, "title=Sea&tags=a&tags=b", {**KEY, **disposition})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_retry_may_say_the_digest_or_leave_it_out(client):
    photo = unique_photo()
    digest = hashlib.sha256(photo).digest()
    header = {"Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"}
    first = await send(client, photo, headers=KEY)
    for again in (
        await send(client, photo, headers={**KEY, **header}),
        await send(client, photo, f"sha256={digest.hex()}", KEY),
        await post(client, photo, headers=KEY, sha256=digest.hex()),
    ):
        assert (again.status_code, again.content) == (201, first.content)
    wrong = await send(client, unique_photo(), headers={**KEY, **header})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "digest_mismatch")
    other = await send(client, unique_photo(), headers=KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_wait_is_a_preference_of_raw_uploads_too(client):
    answer = await send(client, headers={"Prefer": "wait=0"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (201, "wait=0")
