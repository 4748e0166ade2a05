"""The ends of uploads in several requests: those that fail halfway, and what is left over then."""

import asyncio
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import photos
import tus_requests as tus
from conftest import running_application
from credentials import create_upload_ticket, upload_headers
from factories import post, stored_keys
from gallery.access.model import Caller, Owner, Scope
from gallery.adapters.objects.parts import StoredPart
from gallery.adapters.objects.reader import RangeReader
from gallery.background import cancel_and_wait
from gallery.errors import ObjectStoreUnavailable, ObjectTaken, UploadBusy
from gallery.uploads import cleaning, direct, part_writer, resumable
from gallery.uploads.finishing import Finishing
from gallery.uploads.idempotency import ROUTE
from resumed import MIB, count, execute, large_photo, sweep, unfinished


async def test_cancelling_what_has_ended_forgets_the_upload_and_keeps_the_image(running):
    gallery, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    image = (await tus.patch(client, url, 0, content)).headers["Gallery-Image"]
    assert (await client.delete(url, headers=tus.VERSION)).status_code == 204
    assert (await tus.head(client, url)).status_code == 404
    await sweep(gallery)
    assert (await client.get(f"/api/v1/images/{image}/original")).content == content


async def without_end(
    client: httpx.AsyncClient, monkeypatch, content: bytes, headers: dict[str, str], **values: str
) -> str:
    """The URL of an upload whose process has died after the last byte, some minutes ago."""
    url = await tus.created(client, len(content), headers, **values)

    async def dies(*_: object) -> None:
        raise ObjectStoreUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(Finishing, "finish", dies)
        assert (await tus.patch(client, url, 0, content, headers)).status_code == 503
    return url


async def test_uploads_that_cannot_end_are_not_in_the_way_of_others(running, monkeypatch):
    gallery, client = running
    lost = [await without_end(client, monkeypatch, photos.a_jpeg(seed=seed), {}) for seed in range(3)]
    for url in lost:
        await gallery.objects.delete([f"original/{url.rpartition('/')[2]}"])
    made = await create_upload_ticket(client, uses=3)
    for seed in range(3, 6):
        await without_end(client, monkeypatch, photos.a_jpeg(seed=seed), upload_headers(made["ticket"]))
    assert (await client.delete(f"{tus.BASE}/tickets/{made['id']}")).status_code == 204
    good = await without_end(client, monkeypatch, photos.a_jpeg(seed=9), {})
    await execute(gallery, "UPDATE upload SET expires_at = expires_at - interval '2 minutes'")
    async with asyncio.timeout(20):
        while await count(gallery, "upload") > 4 or await count(gallery, "image") < 1:  # those of the ticket go
            await gallery.sweep.run()
    assert (await tus.head(client, good)).headers["Gallery-Image"]
    answer = await client.get(lost[0])
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")


async def test_a_process_can_stop_while_it_looks_at_an_upload(running, monkeypatch):
    """A thread reads the picture and waits for the event loop, which must not wait for the thread."""
    gallery, client = running
    url = await without_end(client, monkeypatch, photos.a_jpeg(), {})
    reading = threading.Event()

    def read_slowly(*_: object) -> int:
        reading.set()
        time.sleep(3)
        return 0

    monkeypatch.setattr(RangeReader, "readinto", read_slowly)
    caller = Caller(owner=Owner("maya"), scopes=frozenset(Scope))
    settling = asyncio.create_task(gallery.resumable_uploads.settle(caller, url.rpartition("/")[2]))
    assert await asyncio.to_thread(reading.wait, 10)
    begun = time.monotonic()
    await cancel_and_wait(settling)
    assert settling.cancelled()
    assert time.monotonic() - begun < 2, "the event loop has waited for the thread"


async def test_a_request_that_has_lost_its_hold_deletes_no_object(running, monkeypatch):
    """It was frozen after it had found an object in its way: that may be the image of the next holder by now."""
    gallery, client = running
    url = await without_end(client, monkeypatch, large_photo(9 * MIB), {})
    list_parts = gallery.objects.multipart.list_parts

    async def frozen(*given: str) -> list[StoredPart]:
        await execute(gallery, "UPDATE upload SET holder = gen_random_uuid()")
        return await list_parts(*given)

    async def taken(*_: object) -> None:
        raise ObjectTaken

    deleted: list[object] = []
    monkeypatch.setattr(gallery.objects.multipart, "complete", taken)
    monkeypatch.setattr(gallery.objects.multipart, "list_parts", frozen)
    monkeypatch.setattr(gallery.objects, "delete", deleted.append)
    monkeypatch.setattr(resumable, "BUSY_SECONDS", 0)
    caller = Caller(owner=Owner("maya"), scopes=frozenset(Scope))
    with pytest.raises(UploadBusy):
        await gallery.resumable_uploads.settle(caller, url.rpartition("/")[2])
    assert deleted == []


async def test_an_expired_upload_whose_parts_cannot_be_removed_is_not_in_the_way_of_others(running, monkeypatch):
    gallery, client = running
    content, multipart = large_photo(9 * MIB), gallery.objects.multipart
    stuck, other = [await tus.created(client, 2 * len(content)) for _ in range(2)]
    for url in (stuck, other):
        await tus.patch(client, url, 0, content)
    abort = multipart.abort

    async def cannot(key: str, handle: str) -> None:
        if stuck.rpartition("/")[2] in key:
            raise ObjectStoreUnavailable
        await abort(key, handle)

    monkeypatch.setattr(multipart, "abort", cannot)
    await execute(gallery, "UPDATE upload SET expires_at = created_at - interval '1 day'")  # the first one, longest ago
    async with asyncio.timeout(20):
        while await count(gallery, "upload") > 1:
            await gallery.sweep.run()
    assert [found.key.rpartition("/")[2] for found in await unfinished(gallery)] == [stuck.rpartition("/")[2]]


async def test_uploads_that_no_row_knows_go_in_batches_and_those_of_other_programs_stay(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    known = await tus.created(client, 2 * len(content))
    await tus.patch(client, known, 0, content)
    keys = [f"original/{known.rpartition('/')[2]}", "backups/monday", *(f"original/{number}" for number in range(3))]
    for key in keys[1:]:
        await gallery.objects.multipart.begin(key)
    monkeypatch.setattr(cleaning, "UNKNOWN_AFTER", -timedelta(minutes=1))
    monkeypatch.setattr(cleaning, "BATCH", 2)
    await gallery.sweep.run()
    assert len(await unfinished(gallery)) == len(keys) - 2
    await gallery.sweep.run()
    assert {found.key for found in await unfinished(gallery)} == set(keys[:2])


async def test_the_sweep_ends_an_upload_of_which_it_forgets_the_idempotency_key(running, monkeypatch):
    """One transaction would wait for the other: that which deletes the expired lease, and that which adds the image."""
    gallery, client = running
    url = await without_end(client, monkeypatch, photos.a_jpeg(), {}, idempotencyKey="k1")
    await execute(gallery, "UPDATE upload SET expires_at = expires_at - interval '2 minutes'")
    await execute(
        gallery,
        f"""INSERT INTO idempotency (owner, route, key, holder, ends_at)
            VALUES ('maya', '{ROUTE}', 'k1', gen_random_uuid(), now())""",
    )
    async with asyncio.timeout(10):
        await gallery.sweep.run()
    assert (await tus.head(client, url)).headers["Gallery-Image"]


async def test_a_sweep_forgets_hundreds_of_uploads_that_ended_a_day_ago(running):
    """A site may end more uploads in the seconds between two sweeps than the store could be asked about."""
    gallery, client = running
    content = photos.a_jpeg()
    ended, going = await tus.created(client, len(content)), await tus.created(client, 5)
    image = (await tus.patch(client, ended, 0, content)).headers["Gallery-Image"]
    columns = "owner, protocol, size, file_name, fields, metadata, part_bytes, ended_at, image_id, expires_at"
    await execute(
        gallery,
        f"""INSERT INTO upload (id, {columns}) SELECT gen_random_uuid(), {columns.replace("expires_at", "now()")}
            FROM upload, generate_series(1, 300) WHERE ended_at IS NOT NULL""",
    )
    await gallery.sweep.run()
    assert await count(gallery, "upload") == 2
    assert (await tus.head(client, ended)).headers["Gallery-Image"] == image
    assert (await tus.head(client, going)).headers["Upload-Offset"] == "0"


async def test_an_upload_takes_no_more_parts_than_the_store(running, monkeypatch):
    gallery, client = running
    content = large_photo(30 * MIB)
    url = await tus.created(client, len(content))
    monkeypatch.setattr(type(gallery.objects.multipart), "max_parts", 3)
    monkeypatch.setattr(part_writer, "SPARE_PARTS", 9_000)
    for attempt in range(2):
        answer = await tus.patch(client, url, 0, content[: 16 * MIB], tus.checksum(b"other"))
        assert answer.status_code == (460, 422)[attempt], answer.text
    assert answer.json()["code"] == "too_many_attempts"
    assert (await client.get(url)).json()["code"] == "too_many_attempts"
    assert await unfinished(gallery) == []
    await sweep(gallery)
    assert await stored_keys(gallery) == set()


async def test_what_is_put_in_vain_is_bounded(running):
    """Such parts stay in the store for a day, and the quota does not count them."""
    gallery, client = running
    content = large_photo(9 * MIB)
    url = await tus.created(client, len(content))
    assert (await tus.patch(client, url, 0, content, tus.checksum(b"other"))).status_code == 460
    most = gallery.objects.multipart.max_parts * (2 * 2 + 100) // 9_000
    await execute(gallery, f"UPDATE upload SET next_part = {most}")
    assert (await tus.patch(client, url, 0, content, tus.checksum(b"other"))).status_code == 460
    answer = await tus.patch(client, url, 0, content, tus.checksum(content))
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many_attempts")
    assert await unfinished(gallery) == []


async def test_a_hundred_tiny_requests_make_no_parts(running):
    """A store has so many parts an object: what is left over of a request waits for more, in every store."""
    gallery, client = running
    content = photos.a_png(width=20, height=20)
    url = await tus.created(client, len(content))
    for offset in range(0, 100, 2):
        assert (await tus.patch(client, url, offset, content[offset : offset + 2])).status_code == 204
    assert await count(gallery, "upload_part") == 0
    answer = await tus.patch(client, url, 100, content[100:])
    image = (await client.get(answer.headers["Content-Location"])).json()
    assert image["sha256"] == hashlib.sha256(content).hexdigest()
    await sweep(gallery)
    assert len(await stored_keys(gallery)) == 1


@pytest.fixture
def small_disk(environment) -> Iterator[dict[str, str]]:
    """A gallery's environment whose objects are on a file system of 4 MiB."""
    if os.geteuid():
        pytest.skip("only root may mount a small file system")
    objects = Path(environment["GALLERY_DATA_DIR"]) / "objects"
    objects.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", objects], check=True)
    try:
        yield environment
    finally:
        subprocess.run(["umount", "-l", objects], check=True)


async def test_a_full_disk_is_no_fault_of_the_client(small_disk):
    content = large_photo(9 * MIB)
    async with running_application(small_disk) as (_, client):
        url = await tus.created(client, len(content))
        answer = await tus.patch(client, url, 0, content)
        assert (answer.status_code, answer.json()["code"]) == (503, "no_room")
        assert (await tus.head(client, url)).headers["Upload-Offset"] == "0"
        assert (await tus.patch(client, url, 0, content[:MIB])).status_code == 204, "the space is free again"


# --- directly to the store --------------------------------------------------------------------------------------------


async def begin_direct(client: httpx.AsyncClient, content: bytes) -> dict[str, Any]:
    body = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return (await client.post(f"{tus.BASE}/direct", json=body)).json()


async def put(part: dict[str, Any], content: bytes, base: httpx.URL) -> None:
    async with httpx.AsyncClient(base_url=base, timeout=30) as anonymous:
        answer = await anonymous.put(part["url"], content=content[part["from"] : part["to"]], headers=part["headers"])
    assert answer.status_code == 200, answer.text


async def test_a_part_may_be_sent_again_after_a_completion_that_failed(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    upload = await begin_direct(client, content)
    await put(upload["parts"][0], b"x" + content[1:], client.base_url)
    await put(upload["parts"][1], content, client.base_url)
    with monkeypatch.context() as patched:
        patched.setattr(gallery.objects.multipart, "complete", unavailable)
        assert (await client.post(upload["complete"])).status_code == 503
    await asyncio.sleep(1.1)  # SeaweedFS knows the times of parts to the second
    await put(upload["parts"][0], content, client.base_url)
    answer = await client.post(upload["complete"])
    assert (answer.status_code, answer.json().get("sha256")) == (201, hashlib.sha256(content).hexdigest())


async def unavailable(*_: object) -> None:
    raise ObjectStoreUnavailable


async def test_a_completion_goes_on_after_a_process_died_behind_the_join(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    upload = await begin_direct(client, content)
    for part in upload["parts"]:
        await put(part, content, client.base_url)
    complete = gallery.objects.multipart.complete

    async def complete_and_die(*args: Any) -> None:
        await complete(*args)
        raise ObjectStoreUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(gallery.objects.multipart, "complete", complete_and_die)
        assert (await client.post(upload["complete"])).status_code == 503
    assert (await client.post(upload["complete"])).status_code == 201


async def test_a_large_file_can_be_asked_for_while_it_is_checked(running, monkeypatch):
    monkeypatch.setattr(direct, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(direct, "READ_WAIT_SECONDS", 0.05)
    gallery, client = running
    checked = asyncio.Event()
    complete = gallery.objects.multipart.complete

    async def slow(*args: Any) -> None:
        await checked.wait()
        await complete(*args)

    monkeypatch.setattr(gallery.objects.multipart, "complete", slow)
    content = large_photo(9 * MIB)
    upload = await begin_direct(client, content)
    for part in upload["parts"]:
        await put(part, content, client.base_url)
    assert (await client.post(upload["complete"])).status_code == 202
    answer = await client.get(f"{tus.BASE}/{upload['id']}")
    assert (answer.status_code, answer.json()["received"], "image" in answer.json()) == (200, len(content), False)
    gallery.direct_uploads._checking.clear()  # as in another process
    assert (await client.post(upload["complete"])).status_code == 202
    checked.set()
    async with asyncio.timeout(10):
        while "image" not in (await client.get(f"{tus.BASE}/{upload['id']}")).json():
            await asyncio.sleep(0.05)


async def test_a_part_of_an_upload_that_is_complete_is_not_found(running, monkeypatch):
    gallery, client = running
    content = large_photo(9 * MIB)
    upload = await begin_direct(client, content)
    for part in upload["parts"]:
        await put(part, content, client.base_url)
    with monkeypatch.context() as patched:  # the parts are joined, and there is no image yet
        patched.setattr(gallery.objects, "digest", unavailable)
        assert (await client.post(upload["complete"])).status_code == 503
    part = upload["parts"][0]
    async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as anonymous:
        answer = await anonymous.put(part["url"], content=content[: part["to"]], headers=part["headers"])
    assert answer.status_code == 404
    if not gallery.objects.multipart.can_sign:  # else the answer is the store's own
        assert answer.json()["code"] == "upload_not_found"
    assert (await client.post(upload["complete"])).status_code == 201
    assert await unfinished(gallery) == []


async def test_the_same_photo_by_a_form_meanwhile_is_a_duplicate(running):
    gallery, client = running
    content = photos.a_jpeg()
    url = await tus.created(client, len(content))
    image = (await post(client, content)).json()["id"]
    answer = await tus.patch(client, url, 0, content)
    assert (answer.headers["Gallery-Image"], answer.headers["Gallery-Duplicate"]) == (image, "true")
    await sweep(gallery)
    assert await stored_keys(gallery) == {f"original/{image}"}
