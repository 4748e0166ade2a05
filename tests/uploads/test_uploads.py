"""Uploads over HTTP: their limits, and clear errors."""

import asyncio

import httpx
import msgspec
import pytest

import photos
from conftest import serve_api
from factories import post
from gallery.uploads.form import MAX_OTHER_BYTES
from gallery.wiring import open_gallery
from scraping import scrape, wait_for_requests

BOUNDARY = b"--x"
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"\r\n--x--\r\n"


async def send(
    client: httpx.AsyncClient, body: bytes, content_type: str = "multipart/form-data; boundary=x"
) -> httpx.Response:
    return await client.post("/api/v1/images", content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize("name", photos.not_pictures())
async def test_a_file_that_is_no_picture_is_unsupported(client, name):
    answer = await post(client, photos.not_pictures()[name], name=f"{name}.jpg")
    assert (answer.status_code, answer.json()["code"]) == (415, "not_a_picture")


async def test_a_bomb_cannot_be_processed(client):
    answer = await post(client, photos.a_png_bomb())
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_pixels")
    detail = answer.json()["detail"]
    assert "It has 2,500,000,000 (50000 × 50000); at most 200,000,000" in detail
    assert "(GALLERY_UPLOAD__MAX_PIXELS=200000000)" in detail
    assert answer.json()["errors"] == [{"pointer": "/file", "detail": detail}]


WIDE_WEBP = b"RIFF\x1e\0\0\0WEBPVP8L\x11\0\0\0\x2f" + (16_382 | 12_206 << 14).to_bytes(4, "little") + bytes(12)


@pytest.mark.parametrize(
    ("file", "code", "setting"),
    [
        (photos.a_png_bomb(65_536, 10), "side_too_long", "(GALLERY_UPLOAD__MAX_SIDE=65535)"),
        (WIDE_WEBP, "too_much_memory", "(GALLERY_WORKER__MEMORY=2684354560)"),
    ],
)
async def test_each_limit_of_a_picture_names_its_setting(client, file, code, setting):
    answer = await post(client, file)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert setting in answer.json()["detail"]
    assert answer.json()["errors"] == [{"pointer": "/file", "detail": answer.json()["detail"]}]


async def test_a_file_of_the_limit_fits_and_one_byte_more_does_not(settings):
    content = photos.a_jpeg()
    limit = msgspec.structs.replace(settings.upload, max_bytes=len(content))
    async with (
        open_gallery(msgspec.structs.replace(settings, upload=limit)) as gallery,
        serve_api(gallery) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert (await post(client, content)).status_code == 201
        answer = await post(client, content + b"\0")
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        setting = f"A file may have at most {len(content):,} bytes (GALLERY_UPLOAD__MAX_BYTES={len(content)})."
        assert setting in answer.json()["detail"]


async def test_a_declared_size_beyond_the_limit_is_refused_before_it_is_sent(client):
    """The client has sent only its header when the answer comes."""
    url = httpx.URL(str(client.base_url))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1073741824\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + HEAD
    )
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_memory_stays_flat_while_a_gigabyte_is_refused(stack):
    """Chunked, without a declared size: refused while it streams, then drained."""
    chunk = bytes(1024 * 1024)

    async def gigabyte():
        yield HEAD
        for _ in range(1024):
            yield chunk

    process = stack.find_child("gallery", "serve")
    before = process.memory_info().rss
    most = before

    async def watch():
        nonlocal most
        while True:
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    try:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{stack.url}/api/v1/images", content=gigabyte(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    except httpx.WriteError:
        pass  # the server has answered and closed before the client had sent it all
    finally:
        watching.cancel()
    assert most - before < 60 * 1024 * 1024


@pytest.mark.parametrize(
    ("body", "content_type", "status", "pointer"),
    [
        (b"{}", "application/json", 415, None),
        (b"", "", 400, None),
        (b"", "multipart/form-data", 400, None),
        (b"", "multipart/form-data; boundary=x", 400, None),
        (b"rubbish", "multipart/form-data; boundary=x", 400, None),
        (HEAD + b"cut", "multipart/form-data; boundary=x", 400, None),
        (b"--x\r\nNo-Colon\r\n\r\n", "multipart/form-data; boundary=x", 400, None),
        (
            multipart(b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\na'),
            "multipart/form-data; boundary=x",
            422,
            "/file",
        ),
    ],
)
async def test_the_error_of_a_malformed_body_names_the_rule(client, body, content_type, status, pointer):
    answer = await send(client, body, content_type)
    assert answer.status_code == status
    assert (answer.json()["errors"][0]["pointer"] if pointer else None) == pointer


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"title": "x" * 121}, "/title"),
        ({"title": "a\x00b"}, "/title"),
        ({"description": "x" * 501}, "/description"),
        ({"visibility": "secret"}, "/visibility"),
        ({"lane": "fast"}, "/lane"),
        ({"tags": ["ok", "x" * 51]}, "/tags/1"),
        ({"title": ["one", "two"]}, "/title"),
        ({"colour": "red"}, "/colour"),
        ({"description": "x" * 20_000}, "/description"),
    ],
)
async def test_an_invalid_field_is_named(client, gallery, fields, pointer):
    answer = await post(client, **fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM object") == 0


async def test_two_files_are_one_too_many(client):
    files = [("file", ("a.jpg", photos.a_jpeg())), ("file", ("b.jpg", photos.a_jpeg()))]
    assert (await client.post("/api/v1/images", files=files)).status_code == 422


async def test_very_many_parts_and_very_long_headers_are_refused(client):
    part = b'--x\r\nContent-Disposition: form-data; name="tags"\r\n\r\na\r\n'
    assert (await send(client, multipart(part * 500))).status_code == 400
    long = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\na\r\n' % (b"n" * 10_000)
    assert (await send(client, multipart(long))).status_code == 400


async def test_much_text_besides_the_file_is_refused(client):
    part = b'--x\r\nContent-Disposition: form-data; name="t%d"\r\n\r\n' + b"a" * 15_000 + b"\r\n"
    many = b"".join(part % n for n in range(MAX_OTHER_BYTES // 15_000 + 2))
    assert (await send(client, multipart(many))).status_code == 422


async def test_a_client_that_disconnects_leaves_nothing(client, gallery):
    url = httpx.URL(str(client.base_url))
    body = HEAD + photos.a_jpeg()
    before = await scrape(client)
    for share in (0.1, 0.5, 0.99, 1.0):
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            b"POST /api/v1/images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" % (len(body) + 9)
        )
        writer.write(body[: int(len(body) * share)])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await wait_for_requests(client, before, 4, method="POST", route="/api/v1/images")
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM object") == 0


async def test_fifty_uploads_at_once_are_fifty_images(client):
    contents = photos.distinct_photos(50)
    answers = await asyncio.gather(*(post(client, content) for content in contents))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 50
