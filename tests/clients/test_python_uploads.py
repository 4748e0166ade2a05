"""Uploads by the Python client: small and large, over connections that break."""

import asyncio
import hashlib
import io
import os
import time

import httpx
import pytest

from clients_proxy import canned
from gallery_client import GalleryError, GalleryUnavailable

PROBLEM = '{"code": "overloaded", "detail": "Later.", "requestId": "r1"}'
BUSY = '{"code": "upload_busy", "detail": "Later."}'


def write_all(file: int, content: bytes) -> None:
    with os.fdopen(file, "wb") as pipe:
        pipe.write(content)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_a_photo_is_uploaded_by_its_path_with_all_fields(kit, photo, tmp_path):
    path = tmp_path / "Zürich.jpg"
    path.write_bytes(photo)
    told = []
    image = await kit.upload(
        path,
        description="At noon",
        alt="A lake",
        tags=("lake", "see"),
        visibility="public",
        lane="bulk",
        focus=(0.25, 0.75),
        on_progress=lambda sent, total: told.append((sent, total)),
    )
    assert (image.title, image.original_name, image.status) == ("Zürich", "Zürich.jpg", "PENDING")
    assert (image.description, image.alt, image.tags) == ("At noon", "A lake", ["lake", "see"])
    assert (image.visibility, image.focus.x, image.focus.y) == ("public", 0.25, 0.75)
    assert (image.sha256, image.size, image.duplicate) == (sha256(photo), len(photo), False)
    assert told[-1] == (len(photo), len(photo))
    ready = await kit.wait(image.id)
    assert (ready.status, ready.width, ready.height) == ("READY", 640, 480)
    assert (await kit.upload(str(path))).duplicate


async def test_an_open_file_is_uploaded_from_its_position(kit, photo):
    file = io.BytesIO(b"head" + photo)
    file.seek(4)
    assert (await kit.upload(file, title="Lake")).sha256 == sha256(photo)


@pytest.mark.parametrize("size", ["small", "large"])
async def test_a_pipe_is_uploaded(kit, photo, large_photo, size):
    content = photo if size == "small" else large_photo
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        writer = asyncio.create_task(asyncio.to_thread(write_all, writing, content))
        assert (await kit.upload(pipe, title="Lake")).sha256 == sha256(content)
        await writer


async def test_bytes_are_uploaded(kit, photo):
    assert (await kit.upload(photo)).title == "Untitled"
    assert (await kit.upload(photo + b"2", title="Lake")).title == "Lake"


async def test_a_large_photo_goes_by_tus_with_all_fields(far_kit, proxy, large_photo, tmp_path):
    path = tmp_path / "Zürich.jpg"
    path.write_bytes(large_photo)
    told = []
    image = await far_kit.upload(
        path,
        title="Ä lake",
        tags=["lake", "see"],
        alt="A lake",
        focus=(0, 0.75),
        on_progress=lambda sent, total: told.append((sent, total)),
    )
    assert proxy.requests[0] == "POST /api/v1/uploads"
    assert (image.title, image.tags, image.alt) == ("Ä lake", ["lake", "see"], "A lake")
    assert (image.original_name, image.focus.x, image.focus.y) == ("Zürich.jpg", 0, 0.75)
    assert (image.sha256, image.duplicate) == (sha256(large_photo), False)
    assert told[-1] == (len(large_photo), len(large_photo))
    assert [sent for sent, _ in told] == sorted({sent for sent, _ in told})
    assert (await far_kit.upload(path)).duplicate
    assert (await far_kit.wait(image)).status == "READY"


async def test_a_large_photo_goes_on_where_its_connection_broke(far_kit, proxy, large_photo):
    proxy.cuts = [3_000_000, 3_000_000]
    image = await far_kit.upload(large_photo)
    assert image.sha256 == sha256(large_photo)
    assert proxy.cuts == []
    patches = [request for request in proxy.requests if request.startswith("PATCH")]
    assert len(patches) >= 3
    assert proxy.sent < len(large_photo) + 2_000_000, "what had arrived is not sent again"


@pytest.mark.parametrize("content", ["photo", "large_photo"])
async def test_an_upload_whose_answer_is_lost_makes_one_image(far_kit, proxy, request, content):
    proxy.lost = 1
    tag = os.urandom(8).hex()
    image = await far_kit.upload(request.getfixturevalue(content), tags=[tag])
    assert not image.duplicate, "the retry is the same upload"
    assert [found.id async for found in far_kit.images(tags=[tag])] == [image.id]
    assert proxy.lost == 0


async def test_the_answer_to_the_last_byte_of_a_large_photo_may_be_lost(stack, far_kit, proxy, large_photo):
    def lose_the_next(sent, total):
        if sent == total:
            proxy.lost = 1

    image = await far_kit.upload(large_photo, on_progress=lose_the_next)
    assert (image.sha256, image.duplicate) == (sha256(large_photo), False)
    assert proxy.lost == 0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_an_upload_is_tried_again(far_kit, proxy, photo, status):
    proxy.answers = [canned(status, PROBLEM, Retry_After="0")] * 2
    assert (await far_kit.upload(photo)).sha256 == sha256(photo)
    assert proxy.requests == ["POST /api/v1/images"] * 3


async def test_a_large_upload_is_tried_again_at_each_step(far_kit, proxy, large_photo):
    proxy.answers = [canned(503, PROBLEM, Retry_After="0"), canned(429, PROBLEM, Retry_After="0")]
    proxy.cuts = [3_000_000]

    def refuse_more(sent, _):
        if sent > 2_000_000 and len(proxy.requests) == 4:
            proxy.answers = [canned(423, BUSY, Retry_After="0"), canned(502)]

    image = await far_kit.upload(large_photo, on_progress=refuse_more)
    assert image.sha256 == sha256(large_photo)
    assert [request.split(" ")[0] for request in proxy.requests] == [
        *["POST"] * 3,
        "PATCH",
        *["GET"] * 3,
        "PATCH",
        "GET",
    ]


async def test_the_pause_is_the_one_that_the_server_asks_for(far_kit, proxy, photo):
    proxy.answers = [canned(503, PROBLEM, Retry_After="2")]
    began = time.monotonic()
    await far_kit.upload(photo)
    assert time.monotonic() - began > 2


async def test_a_call_ends_when_its_time_to_try_is_over(stack, proxy, connect, photo):
    proxy.answers = [canned(503, PROBLEM, Retry_After="30")]
    async with connect(proxy.url, retry_for=5) as kit:
        began = time.monotonic()
        with pytest.raises(GalleryError) as caught:
            await kit.upload(photo)
    assert time.monotonic() - began < 5
    error = caught.value
    assert (error.code, error.status, error.detail, error.request_id) == ("overloaded", 503, "Later.", "r1")
    assert error.retry_after == 30


async def test_a_refused_upload_is_not_tried_again(far_kit, proxy, photo):
    with pytest.raises(GalleryError) as caught:
        await far_kit.upload(photo, title="x" * 121)
    assert (caught.value.code, caught.value.status) == ("invalid_field", 422)
    assert caught.value.errors[0].pointer == "/title"
    assert len(proxy.requests) == 1


async def test_a_large_file_that_is_no_picture_is_refused(far_kit):
    with pytest.raises(GalleryError) as caught:
        await far_kit.upload(b"no picture" * 900_000)
    assert (caught.value.status, caught.value.code) == (415, "not_a_picture")


async def test_a_refusal_whose_answer_was_lost_is_told(far_kit, proxy):
    def lose_the_next(sent, _):
        proxy.lost = int(not any(r.startswith("GET") for r in proxy.requests))

    with pytest.raises(GalleryError) as caught:
        await far_kit.upload(b"no picture" * 900_000, on_progress=lose_the_next)
    assert (caught.value.status, caught.value.code) == (415, "not_a_picture")


async def test_a_file_that_is_too_large_is_refused(far_kit):
    with pytest.raises(GalleryError) as caught:
        await far_kit.upload(bytes(11_000_000))
    assert (caught.value.status, caught.value.code) == (413, "too_large")


async def test_a_server_that_is_away_is_told_as_such(connect, photo):
    async with connect("http://127.0.0.1:1", retry_for=0) as kit:
        with pytest.raises(GalleryUnavailable) as caught:
            await kit.upload(photo)
    assert (caught.value.code, caught.value.status) == ("unavailable", None)


async def test_another_receipt_than_the_files_is_an_error(stack, far_kit, proxy, photo):
    other = await far_kit.upload(photo + b"other")
    async with httpx.AsyncClient(base_url=stack.url) as client:
        stored = await client.get(f"/api/v1/images/{other.id}")
    proxy.answers = [canned(201, stored.text)]
    with pytest.raises(GalleryError) as caught:
        await far_kit.upload(photo)
    assert caught.value.code == "receipt_mismatch"


@pytest.mark.parametrize("content", ["photo", "large_photo"])
async def test_bytes_that_are_damaged_on_the_way_are_refused(far_kit, proxy, request, content):
    whole = request.getfixturevalue(content)
    proxy.damage = (whole[:400][-20:], b"x" * 20)
    with pytest.raises(GalleryError) as caught:
        await far_kit.upload(whole)
    assert (caught.value.code, caught.value.status) == ("digest_mismatch", 422)


async def test_the_same_key_is_the_same_upload(kit, photo, large_photo):
    for content in (photo, large_photo):
        key = os.urandom(8).hex()
        first, again = [await kit.upload(content, idempotency_key=key) for _ in range(2)]
        assert (first.id, again.duplicate) == (again.id, False)
        with pytest.raises(GalleryError) as caught:
            await kit.upload(content, title="Another", idempotency_key=key)
        assert (caught.value.code, caught.value.status) == ("idempotency_key_reused", 422)


async def test_a_file_that_becomes_shorter_is_an_error_of_the_file(kit, large_photo, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(large_photo)

    def cut(sent, _):
        os.truncate(path, sent)

    with pytest.raises(OSError, match="shorter"):
        await kit.upload(path, on_progress=cut)
