"""Rows of pictures: kept ones in memory, others in few statements."""

import asyncio
from uuid import uuid4

import msgspec
import pytest

import photos
from conftest import running_application, wait_until_caught_up
from factories import CALLER, upload_image
from gallery.delivery import picture_store
from gallery.delivery.picture_rows import PictureRows
from gallery.delivery.picture_store import PictureId
from gallery.images import store
from gallery.settings import CacheSettings
from gallery.wiring import open_processing


@pytest.fixture
async def image(gallery, processing):
    uploaded = await upload_image(gallery, photos.a_jpeg(width=600, height=400))
    await processing.process(uploaded.id)
    return await gallery.images.get(CALLER, uploaded.id)


@pytest.fixture
def statements(monkeypatch):
    """The statements that have looked for pictures: how many each; and 0 for one that looked for an image."""
    found, find, find_image = [], picture_store.find, store.find

    async def counting(db, pictures):
        found.append(len(pictures))
        return await find(db, pictures)

    async def counting_images(db, image):
        found.append(0)
        return await find_image(db, image)

    monkeypatch.setattr(picture_store, "find", counting)
    monkeypatch.setattr(store, "find", counting_images)
    return found


async def kept_pictures(gallery, image, count):
    async with gallery.database.writing() as db:
        await db.execute(
            "INSERT INTO picture (image_id, digest, claim, strikes) SELECT $1, n::text, gen_random_uuid(), n "
            "FROM generate_series(1, $2) AS n",
            image.id,
            count,
        )
    return [PictureId(image.id, str(n)) for n in range(1, count + 1)]


async def test_lookups_at_the_same_time_go_into_two_statements(gallery, image, statements):
    pictures = await kept_pictures(gallery, image, 50)
    rows = PictureRows(gallery.database, CacheSettings())
    first = asyncio.create_task(rows.find(pictures[0]))
    while not statements:
        await asyncio.sleep(0)
    found = await asyncio.gather(first, *(rows.find(picture) for picture in pictures[1:]))
    assert [row.strikes for row in found] == list(range(1, 51))
    assert statements == [1, 49]


async def test_an_unknown_picture_is_none(gallery, image):
    rows = PictureRows(gallery.database, CacheSettings())
    assert await rows.find(PictureId(image.id, "none")) is None


async def test_a_client_that_leaves_cancels_no_lookup_of_others(gallery, image):
    picture, other = await kept_pictures(gallery, image, 2)
    rows = PictureRows(gallery.database, CacheSettings())
    leaving, staying = (asyncio.create_task(rows.find(one)) for one in (picture, other))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).strikes == 2
    assert leaving.cancelled()


async def test_a_failed_statement_fails_its_lookups_and_not_the_next(gallery, image, monkeypatch):
    [picture] = await kept_pictures(gallery, image, 1)
    rows = PictureRows(gallery.database, CacheSettings())
    with monkeypatch.context() as patch:
        patch.setattr(picture_store, "FIND", "SELECT no_such_column")
        with pytest.raises(Exception, match="no_such_column"):
            await rows.find(picture)
    assert (await rows.find(picture)).strikes == 1


@pytest.mark.parametrize("path", ["/api/v1/images/{}/picture?w=100&format=webp", "/iiif/3/{}/full/100,/0/default.webp"])
async def test_a_kept_picture_costs_no_statement_after_it_was_made(gallery, client, image, statements, path):
    await wait_until_caught_up(gallery)
    made = await client.get(path.format(image.id))
    statements.clear()
    kept = await client.get(path.format(image.id), headers={"X-Other": "1"})  # another request to finished responses
    assert (kept.status_code, kept.content) == (200, made.content)
    assert statements == []


async def test_a_picture_that_was_evicted_elsewhere_is_made_again(gallery, client, image):
    path = f"/api/v1/images/{image.id}/picture?w=120&format=webp"
    made = await client.get(path)
    async with gallery.database.writing() as db:
        await db.execute("DELETE FROM picture")
    async for keys in gallery.objects.list("pictures"):
        await gallery.objects.delete([found.key for found in keys])
    again = await client.get(path, headers={"X-Other": "1"})
    assert (again.status_code, again.content) == (200, made.content)
    assert again.headers["etag"] != made.headers["etag"]


async def test_a_picture_that_memory_serves_counts_as_used_after_the_lifetime_of_an_answer(environment):
    """So it is never the longest unused one, though no statement is spent on most of its uses."""
    async with (
        running_application(environment, GALLERY_CACHE__SECONDS="1") as (gallery, client),
        open_processing(gallery) as processing,
    ):
        await wait_until_caught_up(gallery)
        uploaded = await upload_image(gallery, photos.a_jpeg(width=600, height=400))
        await processing.process(uploaded.id)
        path = f"/api/v1/images/{uploaded.id}/picture?w=100&format=webp"
        await client.get(path)
        async with gallery.database.writing() as db:
            await db.execute("UPDATE picture SET used_at = now() - interval '2 hours'")
        async with asyncio.timeout(20):
            while await _hours_unused(gallery) >= 2:
                assert (await client.get(path)).status_code == 200
                await asyncio.sleep(0.1)


async def _hours_unused(gallery):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT extract(epoch FROM now() - used_at) / 3600 FROM picture")


async def test_without_the_memory_of_responses_each_use_reads_the_row(gallery, image, statements):
    [picture] = await kept_pictures(gallery, image, 1)
    key = f"pictures/{image.id}/{uuid4()}.webp"
    async with gallery.database.writing() as db:
        await db.execute("INSERT INTO object (key, image_id) VALUES ($1, $2)", key, image.id)
        await db.execute("UPDATE picture SET key = $1", key)
    rows = PictureRows(gallery.database, msgspec.structs.replace(CacheSettings(), response_bytes=0))
    assert [(await rows.find(picture)).key for _ in range(2)] == [key, key]
    assert statements == [1, 1]
