"""Uploads directly to the store: signed parts, and a check before there is an image."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

import photos
from conftest import running_application
from factories import expire_pending_puts, post, stored_keys
from gallery.background import cancel_and_wait
from gallery.uploads import direct
from gallery.wiring import Gallery
from s3 import create_bucket

MIB = 1024 * 1024
BASE = "/api/v1/uploads"
LARGE = {"GALLERY_UPLOAD__MAX_BYTES": str(64 * MIB)}
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["files", "s3"])
async def running(request, environment, s3) -> AsyncIterator[tuple[Gallery, httpx.AsyncClient]]:
    more = LARGE
    if request.param == "s3":
        more = LARGE | s3 | {"S3_BUCKET": f"direct-{uuid4().hex[:12]}"}
        create_bucket(s3, more["S3_BUCKET"])
    async with running_application(environment, **more) as found:
        yield found


def large_photo(size: int) -> bytes:
    content = photos.a_jpeg()
    return content + bytes(size - len(content))


async def begin(client: httpx.AsyncClient, content: bytes, **fields: Any) -> dict[str, Any]:
    body = {"name": "lake.jpg", "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), **fields}
    answer = await client.post(f"{BASE}/direct", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"].endswith(answer.json()["id"])
    return answer.json()


async def put(client: httpx.AsyncClient, part: dict[str, Any], content: bytes) -> httpx.Response:
    """As a browser without a credential, wherever the URL leads."""
    async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as anonymous:
        return await anonymous.request(part["method"], part["url"], content=content, headers=part["headers"])


async def put_all(client: httpx.AsyncClient, upload: dict[str, Any], content: bytes) -> None:
    for part in reversed(upload["parts"]):
        answer = await put(client, part, content[part["from"] : part["to"]])
        assert answer.status_code == 200, answer.text


async def test_a_photo_in_parts_of_any_order_is_the_image(running):
    gallery, client = running
    content = large_photo(20 * MIB + 3)
    upload = await begin(client, content, title="A lake", tags=["a", "b"], visibility="public", focus="0.5,0.25")
    assert [(part["from"], part["to"]) for part in upload["parts"]] == [
        (0, 8 * MIB),
        (8 * MIB, 16 * MIB),
        (16 * MIB, len(content)),
    ]
    await put_all(client, upload, content)
    await put(client, upload["parts"][1], content[8 * MIB : 16 * MIB])  # again
    answer = await client.post(upload["complete"])
    assert answer.status_code == 201, answer.text
    image = answer.json()
    assert answer.headers["Location"].endswith(f"/api/v1/images/{image['id']}")
    assert (image["title"], image["tags"], image["visibility"]) == ("A lake", ["a", "b"], "public")
    assert (image["sha256"], image["size"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert image["focus"] == {"x": 0.5, "y": 0.25}
    assert (await client.get(f"/api/v1/images/{image['id']}/original")).content == content
    again = await client.post(upload["complete"])
    assert (again.status_code, again.json()["id"]) == (201, image["id"])
    await gallery.sweep.run()
    assert await stored_keys(gallery) == {f"original/{image['id']}"}


async def test_a_check_that_goes_on_ends_with_the_process(running, monkeypatch):
    gallery, client = running
    content, checking, ended = large_photo(9 * MIB), asyncio.Event(), asyncio.Event()

    async def check(*_: object) -> None:
        checking.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # as a thread that reads does
            ended.set()

    upload = await begin(client, content)
    await put_all(client, upload, content)
    with monkeypatch.context() as patched:
        patched.setattr(gallery.resumable_uploads, "settle", check)
        completing = asyncio.create_task(client.post(upload["complete"]))
        await checking.wait()
        await gallery.direct_uploads.close()
        assert ended.is_set()
    await cancel_and_wait(completing)
    assert (await client.post(upload["complete"])).status_code == 201


async def test_parts_that_are_missing_are_named(running):
    _, client = running
    content = large_photo(17 * MIB)
    upload = await begin(client, content)
    await put(client, upload["parts"][1], content[8 * MIB : 16 * MIB])
    answer = await client.post(upload["complete"])
    assert (answer.status_code, answer.json()["code"]) == (409, "parts_missing")
    assert "Missing: parts 1, 3." in answer.json()["detail"]
    assert (await client.get(f"{BASE}/{upload['id']}")).json()["received"] == 8 * MIB
    await put_all(client, upload, content)
    assert (await client.post(upload["complete"])).status_code == 201


async def test_other_bytes_are_refused_and_go(running):
    gallery, client = running
    content = large_photo(9 * MIB)
    upload = await begin(client, content)
    await put_all(client, upload, content[:-1] + b"x")
    for _ in range(2):
        answer = await client.post(upload["complete"])
        assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert (await client.get("/api/v1/images")).json() == []
    await gallery.sweep.run()
    await expire_pending_puts(gallery)
    await gallery.sweep.run()
    assert await stored_keys(gallery) == set()


async def test_something_else_than_a_picture_is_refused(running):
    _, client = running
    content = b"x" * (9 * MIB)
    upload = await begin(client, content)
    await put_all(client, upload, content)
    answer = await client.post(upload["complete"])
    assert (answer.status_code, answer.json()["code"]) == (415, "not_a_picture")


async def test_a_part_of_another_length_is_refused(running):
    _, client = running
    content = large_photo(9 * MIB)
    upload = await begin(client, content)
    part = upload["parts"][0]
    shorter, longer = [await put(client, part, bytes(part["to"] + more)) for more in (-1, 1)]
    if "/parts/" in part["url"]:  # Gallery's own; a store says it in its own words
        assert (shorter.status_code, shorter.json()["code"]) == (400, "shorter_than_said")
        assert shorter.json()["detail"].endswith("It has 8,388,608 bytes, and 8,388,607 arrived; send all of them.")
        assert (longer.status_code, longer.json()["code"]) == (413, "longer_than_said")
    else:
        assert (shorter.status_code, longer.status_code) == (403, 403)
    assert (await client.post(upload["complete"])).json()["code"] == "parts_missing"


async def test_a_changed_url_is_refused(running):
    _, client = running
    content = large_photo(9 * MIB)
    upload = await begin(client, content)
    first, second = upload["parts"]
    swapped = first["url"].replace("/parts/1", "/parts/2").replace("partNumber=1", "partNumber=2")
    answer = await put(client, {**second, "url": swapped}, content[8 * MIB :])
    assert answer.status_code == 403, answer.text


async def test_a_duplicate_is_the_first_image(running):
    _, client = running
    content = photos.a_jpeg()
    first = (await post(client, content)).json()
    upload = await begin(client, content)
    await put_all(client, upload, content)
    answer = await client.post(upload["complete"])
    assert (answer.status_code, answer.json()["id"], answer.json()["duplicate"]) == (200, first["id"], True)


async def test_a_large_file_is_checked_after_the_answer(running, monkeypatch):
    gallery, client = running
    monkeypatch.setattr(direct, "WAIT_SECONDS", 0.05)
    digest = gallery.objects.digest

    async def slow(*args: Any) -> Any:
        await asyncio.sleep(1)
        return await digest(*args)

    monkeypatch.setattr(gallery.objects, "digest", slow)
    content = large_photo(9 * MIB)
    upload = await begin(client, content)
    await put_all(client, upload, content)
    answer = await client.post(upload["complete"])
    assert (answer.status_code, answer.content) == (202, b"")
    location = answer.headers["Location"]
    async with asyncio.timeout(10):
        while "image" not in (await client.get(location)).json():
            await asyncio.sleep(0.1)
    assert (await client.post(upload["complete"])).status_code == 201


async def test_an_idempotency_key_begins_one_upload(running):
    _, client = running
    content = large_photo(9 * MIB)
    body = {"size": len(content)}
    key = {"Idempotency-Key": "k1"}
    first = (await client.post(f"{BASE}/direct", json=body, headers=key)).json()
    again = (await client.post(f"{BASE}/direct", json=body, headers=key)).json()
    assert first["id"] == again["id"]
    await put_all(client, again, content)
    image = (await client.post(first["complete"])).json()
    by_form = await post(client, content, headers=key, name="")
    assert by_form.json()["id"] == image["id"]


async def test_what_is_never_completed_goes(running):
    gallery, client = running
    content = large_photo(9 * MIB)
    upload = await begin(client, content)
    await put(client, upload["parts"][0], content[: 8 * MIB])
    async with gallery.database.primary() as db:
        await db.execute("UPDATE upload SET expires_at = now()")
    await gallery.sweep.run()
    assert (await client.post(upload["complete"])).status_code == 404
    assert [found async for found in gallery.objects.multipart.list_unfinished(FUTURE)] in ([], [[]])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/size"),
        ({"size": -1}, "/size"),
        ({"size": 5, "sha256": "x"}, "/sha256"),
        ({"size": 5, "title": "x" * 121}, "/title"),
        ({"size": 5, "visibility": "secret"}, "/visibility"),
        ({"size": 5, "owner": "me"}, "/owner"),
    ],
)
async def test_fields_are_checked_first(client, body, pointer):
    answer = await client.post(f"{BASE}/direct", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
