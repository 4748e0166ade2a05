"""Resumable uploads by tus 1.0.0, on files and on S3."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

import photos
import tus_requests as tus
from conftest import running_application
from factories import expire_pending_puts, post, stored_keys
from gallery.errors import DatabaseUnavailable
from gallery.uploads.finishing import Finishing
from gallery.wiring import Gallery
from s3 import create_bucket

MIB = 1024 * 1024
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
LARGE = {"GALLERY_UPLOAD__MAX_BYTES": str(64 * MIB)}


@pytest.fixture(params=["files", "s3"])
async def store(request, environment, s3) -> AsyncIterator[dict[str, str]]:
    if request.param == "files":
        yield environment
    else:
        bucket = f"uploads-{uuid4().hex[:12]}"
        create_bucket(s3, bucket)
        yield environment | s3 | {"S3_BUCKET": bucket}


@pytest.fixture
async def running(store) -> AsyncIterator[tuple[Gallery, httpx.AsyncClient]]:
    async with running_application(store, **LARGE) as found:
        yield found


def large_photo(size: int, seed: int = 0) -> bytes:
    """A JPEG with bytes after its end, which decoders ignore."""
    content = photos.a_jpeg(seed=seed)
    return content + bytes(size - len(content))


async def image_of(client: httpx.AsyncClient, answer: httpx.Response) -> dict[str, object]:
    assert answer.headers["Content-Location"].endswith(f"/api/v1/images/{answer.headers['Gallery-Image']}")
    found = await client.get(answer.headers["Content-Location"])
    assert found.status_code == 200, found.text
    return found.json()


async def bytes_of(client: httpx.AsyncClient, image: dict[str, object]) -> bytes:
    return (await client.get(f"/api/v1/images/{image['id']}/original")).content


async def test_a_server_says_what_it_knows_without_a_credential(client):
    answer = await client.options(tus.BASE)
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == "creation,creation-with-upload,checksum,expiration,termination"
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha256,sha1"
    assert answer.headers["Tus-Max-Size"] == "10485760"


@pytest.mark.parametrize(("make", "kind"), [(photos.a_heic, "image/heic"), (photos.an_avif, "image/avif")])
async def test_a_download_has_the_type_of_the_picture(running, make, kind):
    """Also from the store itself, which is told it with the first bytes."""
    _, client = running
    image = await image_of(client, await tus.send(client, make()))
    download = (await client.get(f"/api/v1/images/{image['id']}/download")).json()
    async with httpx.AsyncClient(base_url=client.base_url) as browser:
        answer = await browser.get(download["url"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize("chunk", [None, 100_000, 7])
async def test_a_photo_in_chunks_is_the_image(running, chunk):
    _, client = running
    content = photos.a_jpeg() if chunk != 7 else photos.a_png(width=8, height=8)
    answer = await tus.send(client, content, chunk, filename="Ä photo.jpg", tags=json.dumps(["a", "b"]), alt="text")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Upload-Offset"] == str(len(content))
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    image = await image_of(client, answer)
    assert (image["title"], image["tags"], image["alt"]) == ("Ä photo", ["a", "b"], "text")
    assert (image["sha256"], image["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert await bytes_of(client, image) == content


async def test_an_upload_in_one_request(running):
    _, client = running
    content = photos.a_jpeg()
    headers = {**tus.VERSION, **tus.CHUNK, "Upload-Length": str(len(content))}
    answer = await client.post(tus.BASE, content=content, headers=headers)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, str(len(content)))
    assert (await image_of(client, answer))["size"] == len(content)


@pytest.mark.parametrize("chunk", [3 * MIB, 8 * MIB, 20 * MIB + 1])
async def test_parts_and_what_is_left_over(running, chunk):
    """Chunks smaller than a part, as large as one, and larger ones; the last part is small."""
    gallery, client = running
    content = large_photo(20 * MIB + 1)
    answer = await tus.send(client, content, chunk)
    assert answer.status_code == 204, answer.text
    image = await image_of(client, answer)
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert await bytes_of(client, image) == content
    await sweep(gallery)
    assert await stored_keys(gallery) == {f"original/{image['id']}"}


async def test_the_bytes_that_arrived_before_a_connection_broke_are_kept(running):
    _, client = running
    content = large_photo(12 * MIB)
    url = await tus.created(client, len(content))

    async def broken() -> AsyncIterator[bytes]:
        yield content[: 9 * MIB]
        await asyncio.sleep(0.2)
        raise OSError("the tunnel")

    with pytest.raises(OSError, match="the tunnel"):
        await tus.patch(client, url, 0, broken(), {"Content-Length": str(len(content))})
    offset = await settled_offset(client, url)
    assert offset == 9 * MIB
    answer = await tus.patch(client, url, offset, content[offset:])
    assert (await image_of(client, answer))["sha256"] == hashlib.sha256(content).hexdigest()


async def test_the_end_is_told_again(running):
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    first = await tus.patch(client, url, 0, content)
    again = await tus.head(client, url)
    assert (again.status_code, again.headers["Upload-Offset"]) == (200, str(len(content)))
    assert again.headers["Gallery-Image"] == first.headers["Gallery-Image"]
    assert again.headers["Cache-Control"] == "no-store"
    read = (await client.get(url)).json()
    assert read["received"] == read["size"] == len(content)
    assert read["image"] == first.headers["Gallery-Image"]
    repeated = await tus.patch(client, url, len(content), b"")
    assert repeated.headers["Gallery-Image"] == first.headers["Gallery-Image"]
    assert len((await client.get("/api/v1/images")).json()) == 1


async def test_a_duplicate_is_the_first_image(running):
    gallery, client = running
    content = photos.a_jpeg()
    first = (await post(client, content)).json()
    answer = await tus.send(client, content)
    assert (answer.headers["Gallery-Duplicate"], answer.headers["Gallery-Image"]) == ("true", first["id"])
    await sweep(gallery)
    assert len([key for key in await stored_keys(gallery) if key.startswith("original/")]) == 1


@pytest.mark.parametrize("chunk", [None, 5])
async def test_a_refusal_is_told_again_for_a_day_and_then_forgotten(running, chunk):
    gallery, client = running
    content = b"not a picture"
    url = await tus.created(client, len(content))
    for offset in range(0, len(content), chunk or len(content)):
        answer = await tus.patch(client, url, offset, content[offset : offset + (chunk or len(content))])
    assert (answer.status_code, answer.json()["code"]) == (415, "not_a_picture")
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    again = await client.get(url)
    assert (again.status_code, again.json()["code"]) == (415, "not_a_picture")
    await expire(gallery)
    assert (await tus.head(client, url)).status_code == 404
    await sweep(gallery)
    assert await stored_keys(gallery) == set()


async def test_a_refusal_names_its_facts_again(running):
    _, client = running
    bomb = photos.a_png_bomb()
    url = await tus.created(client, len(bomb))
    first, again = await tus.patch(client, url, 0, bomb), await client.get(url)
    assert first.json()["detail"] == again.json()["detail"]
    assert "2,500,000,000" in again.json()["detail"]
    assert again.json()["errors"][0]["pointer"] == "/file"


@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        ({"title": "x" * 121}, "/title"),
        ({"visibility": "secret"}, "/visibility"),
        ({"tags": "a,b"}, "/tags"),
        ({"focus": "2,2"}, "/focus"),
        ({"sha256": "abc"}, "/sha256"),
        ({"idempotencyKey": "ä"}, "/idempotencyKey"),
        ({"owner": "x"}, "/owner"),
    ],
)
async def test_fields_are_checked_before_the_first_byte(client, values, pointer):
    answer = await tus.create(client, 100, **values)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


async def test_sizes_are_checked_before_the_first_byte(client):
    assert (await tus.create(client, 0)).json()["code"] == "not_a_picture"
    answer = await tus.create(client, 10 * MIB + 1)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_more_bytes_than_the_upload_was_said_to_have(running):
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content) - 1)
    answer = await tus.patch(client, url, 0, content)
    assert (answer.status_code, answer.json()["code"]) == (413, "longer_than_said")
    assert (await tus.head(client, url)).headers["Upload-Offset"] == "0"


async def test_a_wrong_offset_names_the_right_one(running):
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    await tus.patch(client, url, 0, content[:100])
    answer = await tus.patch(client, url, 0, content[:100])
    assert (answer.status_code, answer.json()["code"]) == (409, "offset_mismatch")
    assert "It has 100 bytes" in answer.json()["detail"]


async def test_one_of_two_writers_at_one_offset_wins(running):
    _, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    answers = await asyncio.gather(*(tus.patch(client, url, 0, content) for _ in range(4)))
    assert min(answer.status_code for answer in answers) == 204
    assert {answer.status_code for answer in answers} <= {204, 409, 423}
    ids = {answer.headers["Gallery-Image"] for answer in answers if answer.status_code == 204}
    assert len(ids) == 1
    assert (await tus.head(client, url)).headers["Gallery-Image"] in ids


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
async def test_a_chunk_with_a_wrong_checksum_counts_nothing(running, algorithm):
    _, client = running
    content = large_photo(17 * MIB)
    url = await tus.created(client, len(content))
    wrong = tus.checksum(b"other", algorithm)
    answer = await tus.patch(client, url, 0, content, wrong)
    assert (answer.status_code, answer.json()["code"]) == (460, "checksum_mismatch")
    assert (await tus.head(client, url)).headers["Upload-Offset"] == "0"
    answer = await tus.patch(client, url, 0, content, tus.checksum(content, algorithm))
    assert (await image_of(client, answer))["sha256"] == hashlib.sha256(content).hexdigest()


async def test_a_wrong_hash_of_the_file_leaves_nothing(running):
    gallery, client = running
    content = photos.a_jpeg()
    answer = await tus.send(client, content, sha256="0" * 64)
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert (await client.get("/api/v1/images")).json() == []
    await sweep(gallery)
    assert await stored_keys(gallery) == set()


async def test_an_idempotency_key_begins_one_upload(running):
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content), idempotencyKey="k1")
    assert await tus.created(client, len(content), idempotencyKey="k1") == url
    first = await tus.patch(client, url, 0, content)
    assert await tus.created(client, len(content), idempotencyKey="k1") == url
    by_form = await post(client, content, headers={"Idempotency-Key": "k1"}, name="")
    assert (by_form.status_code, by_form.json()["id"]) == (201, first.headers["Gallery-Image"])
    assert by_form.headers["Idempotency-Replayed"] == "true"


async def test_a_cancelled_upload_is_gone(running):
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    await tus.patch(client, url, 0, content[: 8 * MIB + 5])
    assert (await client.delete(url, headers=tus.VERSION)).status_code == 204
    assert (await tus.head(client, url)).status_code == 404
    assert (await tus.patch(client, url, 8 * MIB + 5, content[8 * MIB + 5 :])).status_code == 404
    await sweep(gallery)
    assert await stored_keys(gallery) == set()
    assert [found async for found in gallery.objects.multipart.list_unfinished(FUTURE)] in ([], [[]])


async def test_what_is_under_way_counts_for_the_quota(store):
    content = photos.a_jpeg()
    async with running_application(store, GALLERY_UPLOAD__QUOTA_BYTES=str(2 * len(content))) as (gallery, client):
        url = await tus.created(client, len(content))
        assert (await tus.create(client, len(content) + 1)).json()["code"] == "quota_exceeded"
        large = content + bytes(10)
        assert (await post(client, large)).json()["code"] == "quota_exceeded"
        await tus.patch(client, url, 0, content)
        assert (await post(client, large)).json()["code"] == "quota_exceeded"  # counts once, not twice
        assert (await post(client, photos.a_jpeg(seed=1)[: len(content)])).status_code in (201, 415, 422)
        await expire(gallery)


async def test_an_upload_that_is_never_finished_goes(running):
    gallery, client = running
    content = large_photo(20 * MIB)
    url = await tus.created(client, len(content))
    await tus.patch(client, url, 0, content[: 9 * MIB])
    await expire(gallery)
    await sweep(gallery)
    assert (await tus.head(client, url)).status_code == 404
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM upload") == 0
        assert await db.fetchval("SELECT count(*) FROM upload_part") == 0
    await sweep(gallery)
    assert await stored_keys(gallery) == set()
    assert [found async for found in gallery.objects.multipart.list_unfinished(FUTURE)] in ([], [[]])


async def test_an_upload_that_only_lacks_its_end_is_ended_by_the_sweep(running, monkeypatch):
    gallery, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    monkeypatch.setattr(Finishing, "finish", unavailable)
    assert (await tus.patch(client, url, 0, content)).status_code == 503
    monkeypatch.undo()
    await gallery.sweep.run()
    assert (await client.get("/api/v1/images")).json() == []  # its sender may still come back
    async with gallery.database.primary() as db:
        await db.execute("UPDATE upload SET expires_at = expires_at - interval '2 minutes'")
    await gallery.sweep.run()
    [image] = (await client.get("/api/v1/images")).json()
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    assert (await tus.head(client, url)).headers["Gallery-Image"] == image["id"]


async def unavailable(*_: object) -> None:
    raise DatabaseUnavailable


async def test_a_request_of_another_version_is_refused(client):
    answer = await client.post(tus.BASE, headers={"Tus-Resumable": "0.2.2", "Upload-Length": "5"})
    assert (answer.status_code, answer.headers["Tus-Version"]) == (412, "1.0.0")
    url = await tus.created(client, 5)
    answer = await client.patch(url, content=b"12345", headers={**tus.VERSION, "Upload-Offset": "0"})
    assert (answer.status_code, answer.json()["code"]) == (415, "not_a_chunk")


async def test_methods_behind_a_proxy_that_passes_only_post(running):
    _, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    override = {**tus.VERSION, **tus.CHUNK, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    answer = await client.post(url, content=content, headers=override)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(len(content)))


async def settled_offset(client: httpx.AsyncClient, url: str) -> int:
    """The offset once the broken request has been noticed."""
    offset = -1
    async with asyncio.timeout(10):
        while (now := int((await tus.head(client, url)).headers["Upload-Offset"])) != offset or not now:
            offset = now
            await asyncio.sleep(0.3)
    return offset


async def expire(gallery: Gallery) -> None:
    async with gallery.database.primary() as db:
        await db.execute("UPDATE upload SET expires_at = now()")


async def sweep(gallery: Gallery) -> None:
    """Twice, since a key that is released young is removed twice."""
    await gallery.sweep.run()
    await expire_pending_puts(gallery)
    await gallery.sweep.run()
