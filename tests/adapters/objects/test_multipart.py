"""Objects that arrive in parts: the same behaviour from a directory, from S3, and from a store that only joins them."""

import asyncio
import hashlib
import io
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from gallery.adapters.objects.cloud import LARGE_BUDGET_BYTES
from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.joined_parts import JoinedParts
from gallery.adapters.objects.parts import StoredPart
from gallery.adapters.objects.store import ObjectStore
from gallery.errors import ObjectNotFound, ObjectTaken, PartsMissing
from multipart_stores import PART_BYTES, open_store, store_kinds

CONTENT = os.urandom(3 * PART_BYTES + 700_001)
SLICES = [(number + 1, start) for number, start in enumerate(range(0, len(CONTENT), PART_BYTES))]
KEY = "original/a/one"


@pytest.fixture(params=store_kinds())
def objects(request, tmp_path) -> ObjectStore:
    return open_store(request, request.param, tmp_path)


@pytest.fixture
def joined(request, tmp_path) -> ObjectStore:
    return open_store(request, "joined", tmp_path)


def part_of(start: int) -> bytes:
    return CONTENT[start : start + PART_BYTES]


async def put_all(objects: ObjectStore, handle: str, key: str = KEY) -> list[StoredPart]:
    put = objects.multipart.put_part
    return [await put(key, handle, number, start, io.BytesIO(part_of(start))) for number, start in SLICES]


async def is_whole(objects: ObjectStore, key: str = KEY) -> bool:
    return (await objects.digest(key)).sha256 == hashlib.sha256(CONTENT).hexdigest()


async def list_unfinished(objects: ObjectStore) -> set[tuple[str, str]]:
    batches = objects.multipart.list_unfinished(datetime.now(UTC) + timedelta(minutes=1))
    return {(found.key, found.handle) async for batch in batches for found in batch}


async def test_parts_in_any_order_become_one_object(objects, tmp_path):
    handle = await objects.multipart.begin(KEY, DownloadHeaders("image/png", "lake é.png"))
    for number, start in [SLICES[3], SLICES[1]]:
        await objects.multipart.put_part(KEY, handle, number, start, part_of(start))
    (tmp_path / "part").write_bytes(part_of(0))
    with (tmp_path / "part").open("rb") as file:
        await objects.multipart.put_part(KEY, handle, 1, 0, file)
    with objects.temporary_file(KEY) as file:
        file.write(part_of(2 * PART_BYTES))
        await objects.multipart.put_part(KEY, handle, 3, 2 * PART_BYTES, file)
    parts = await objects.multipart.list_parts(KEY, handle)
    assert [(part.number, part.start, part.size) for part in parts] == [
        (number, start, len(part_of(start))) for number, start in SLICES
    ]
    assert await objects.size(KEY) is None
    await objects.multipart.complete(KEY, handle, reversed(parts))
    assert await is_whole(objects)
    assert await list_unfinished(objects) == set()


async def test_what_a_put_returns_is_what_the_list_says(objects):
    handle = await objects.multipart.begin(KEY)
    assert await objects.multipart.list_parts(KEY, handle) == []
    stored = await put_all(objects, handle)
    assert await objects.multipart.list_parts(KEY, handle) == stored


async def test_of_a_part_that_is_sent_again_the_last_counts(objects):
    handle = await objects.multipart.begin(KEY)
    await objects.multipart.put_part(KEY, handle, 4, 3 * PART_BYTES, os.urandom(2_000_000))
    await objects.multipart.put_part(KEY, handle, 2, PART_BYTES, os.urandom(PART_BYTES))
    await objects.multipart.complete(KEY, handle, await put_all(objects, handle))
    assert await is_whole(objects)


async def test_parts_that_arrive_at_the_same_time_are_all_kept(objects):
    handle = await objects.multipart.begin(KEY)
    put = objects.multipart.put_part
    parts = await asyncio.gather(*(put(KEY, handle, number, start, part_of(start)) for number, start in SLICES * 2))
    await objects.multipart.complete(KEY, handle, parts[: len(SLICES)])
    assert await is_whole(objects)


async def test_gaps_and_unknown_parts_are_refused(objects):
    handle = await objects.multipart.begin(KEY)
    parts = await put_all(objects, handle)
    with pytest.raises(PartsMissing, match=f"the bytes from {PART_BYTES}"):
        await objects.multipart.complete(KEY, handle, [parts[0], *parts[2:]])
    with pytest.raises(PartsMissing):
        await objects.multipart.complete(KEY, handle, [])
    unknown = parts[3]._replace(number=5, etag=hashlib.md5(b"other").hexdigest())
    with pytest.raises(PartsMissing):
        await objects.multipart.complete(KEY, handle, [*parts[:3], unknown])
    assert await objects.size(KEY) is None
    await objects.multipart.complete(KEY, handle, parts)
    assert await is_whole(objects)


@pytest.mark.parametrize("number", [0, 100_001])
async def test_a_number_that_the_store_does_not_take_is_refused(objects, number):
    handle = await objects.multipart.begin(KEY)
    with pytest.raises(ValueError, match="numbered from 1"):
        await objects.multipart.put_part(KEY, handle, number, 0, b"x")


async def test_a_completion_may_be_repeated(objects):
    handle = await objects.multipart.begin(KEY)
    parts = await put_all(objects, handle)
    await asyncio.gather(*(objects.multipart.complete(KEY, handle, parts) for _ in range(3)))
    await objects.multipart.complete(KEY, handle, parts)
    assert await is_whole(objects)


async def test_an_upload_that_has_ended_is_gone(objects):
    completed, aborted = await objects.multipart.begin(KEY), await objects.multipart.begin("original/a/two")
    await objects.multipart.complete(KEY, completed, await put_all(objects, completed))
    await put_all(objects, aborted, "original/a/two")
    await objects.multipart.abort("original/a/two", aborted)
    for key, handle in [(KEY, completed), ("original/a/two", aborted)]:
        with pytest.raises(ObjectNotFound):
            await objects.multipart.list_parts(key, handle)
        with pytest.raises(ObjectNotFound):
            await objects.multipart.put_part(key, handle, 1, 0, b"x" * PART_BYTES)
        await objects.multipart.abort(key, handle)
    with pytest.raises(ObjectNotFound):
        await objects.multipart.complete("original/a/two", aborted, [StoredPart(1, 0, 9, "0" * 32)])
    assert await is_whole(objects)  # which the late part and the abort have not changed
    assert await objects.size("original/a/two") is None


async def test_nothing_is_overwritten(objects):
    handle = await objects.multipart.begin(KEY)
    parts = await put_all(objects, handle)
    others = bytes(len(CONTENT))
    await objects.put(KEY, others)
    with pytest.raises(ObjectTaken):
        await objects.multipart.complete(KEY, handle, parts)
    await objects.multipart.abort(KEY, handle)
    assert (await objects.digest(KEY)).sha256 == hashlib.sha256(others).hexdigest()


async def test_all_unfinished_uploads_are_listed(objects):
    """Also those of which no row knows; not those that begin later."""
    before = datetime.now(UTC) - timedelta(minutes=1)
    handles = {(key, await objects.multipart.begin(key)) for key in (KEY, KEY, "original/b/two", "one")}
    assert await list_unfinished(objects) == handles
    assert [found async for batch in objects.multipart.list_unfinished(before) for found in batch] == []
    for key, handle in handles:
        await objects.multipart.abort(key, handle)
    assert await list_unfinished(objects) == set()


async def test_parts_are_no_objects_of_the_folder_where_they_will_be(objects):
    handle = await objects.multipart.begin(KEY)
    await put_all(objects, handle)
    assert [found async for batch in objects.list("original") for found in batch] == []


async def test_the_object_is_sent_as_an_attachment_of_its_type(objects):
    handle = await objects.multipart.begin(KEY, DownloadHeaders("image/png", "lake é.png"))
    await objects.multipart.complete(KEY, handle, await put_all(objects, handle))
    url = await objects.sign(KEY, timedelta(minutes=1))
    if url is None:
        pytest.skip("files are sent by Gallery")
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''lake%20%C3%A9.png"


async def test_parts_that_another_completion_deletes_are_not_missed(joined, monkeypatch):
    """Both have looked whether the key is free."""
    handle = await joined.multipart.begin(KEY)
    parts = await put_all(joined, handle)
    original = JoinedParts._join

    async def join_behind_another(backend: JoinedParts, *arguments: Any) -> None:
        monkeypatch.setattr(JoinedParts, "_join", original)
        await joined.multipart.complete(KEY, handle, parts)
        await original(backend, *arguments)

    monkeypatch.setattr(JoinedParts, "_join", join_behind_another)
    await joined.multipart.complete(KEY, handle, parts)
    assert await is_whole(joined)


async def test_a_part_that_arrives_after_a_cancel_does_not_stay(joined, monkeypatch):
    handle = await joined.multipart.begin(KEY)
    original = JoinedParts._put

    async def put_behind_a_cancel(backend: JoinedParts, *arguments: Any) -> None:
        monkeypatch.setattr(JoinedParts, "_put", original)
        await joined.multipart.abort(KEY, handle)
        await original(backend, *arguments)

    monkeypatch.setattr(JoinedParts, "_put", put_behind_a_cancel)
    with pytest.raises(ObjectNotFound):
        await joined.multipart.put_part(KEY, handle, 1, 0, part_of(0))
    assert await joined.multipart._backend._sizes(handle) == {}


async def test_an_upload_that_ends_while_they_are_listed_is_left_out(joined, monkeypatch):
    gone, other = await joined.multipart.begin(KEY), await joined.multipart.begin(f"{KEY}2")
    original = JoinedParts._beginning

    async def begun(backend: JoinedParts, handle: str) -> Any:
        if handle == gone:
            await backend.abort(KEY, gone)
        return await original(backend, handle)

    monkeypatch.setattr(JoinedParts, "_beginning", begun)
    assert await list_unfinished(joined) == {(f"{KEY}2", other)}


async def test_parts_wait_for_the_memory_of_other_puts(joined):
    handle = await joined.multipart.begin(KEY)
    backend = joined._store
    async with backend._large_budget.acquire(LARGE_BUDGET_BYTES):
        part = asyncio.create_task(joined.multipart.put_part(KEY, handle, 1, 0, b"part"))
        await asyncio.wait([part], timeout=1)
        assert not part.done()
    assert (await part).size == 4


async def test_no_part_is_left_behind(joined):
    handle = await joined.multipart.begin(KEY)
    await joined.multipart.complete(KEY, handle, await put_all(joined, handle))
    assert [found.key async for batch in joined.list("") for found in batch] == [KEY]
