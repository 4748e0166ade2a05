"""The quota of one owner: exact, also with concurrent uploads."""

import asyncio
from collections import Counter

import photos
from conftest import running_application
from factories import CALLER, post, upload_image
from gallery.access.model import Caller, Owner
from gallery.images import store

NOOR = Caller(owner=Owner("noor"))


async def storage_used(gallery, owner=CALLER.owner):
    async with gallery.database.primary() as db:
        counted = await store.stored_bytes(db, owner)
        summed = await db.fetchval(
            "SELECT coalesce(sum(size), 0) FROM image WHERE owner = $1 AND deleted_at IS NULL", owner
        )
    assert counted == summed
    return counted


async def test_uploads_at_once_take_the_quota_and_not_a_byte_more(environment):
    contents = photos.distinct_photos(24)
    room = sum(len(content) for content in contents[:9])
    async with running_application(environment, GALLERY_UPLOAD__QUOTA_BYTES=str(room)) as (gallery, client):
        answers = await asyncio.gather(*(post(client, content) for content in contents))
        found = Counter(answer.status_code for answer in answers)
        assert found.keys() == {201, 413}
        assert await storage_used(gallery) == sum(
            answer.json()["size"] for answer in answers if answer.status_code == 201
        )
        assert await storage_used(gallery) <= room
        assert room - await storage_used(gallery) < max(map(len, contents))
        async with gallery.database.primary() as db:
            wanted = await db.fetchval("SELECT count(*) FROM object WHERE remove_after IS NULL")
        assert wanted == found[201]


async def test_an_upload_above_the_quota_is_refused_before_it_is_stored(environment):
    content = photos.a_jpeg()
    async with running_application(environment, GALLERY_UPLOAD__QUOTA_BYTES=str(len(content))) as (gallery, client):
        assert (await post(client, content)).status_code == 201
        answer = await post(client, photos.a_png())
        assert (answer.status_code, answer.json()["code"]) == (413, "quota_exceeded")
        assert f"(GALLERY_UPLOAD__QUOTA_BYTES={len(content)})" in answer.json()["detail"]
        async with gallery.database.primary() as db:
            assert await db.fetchval("SELECT count(*) FROM object") == 1


async def test_sixteen_uploads_at_the_edge_of_the_quota(environment):
    """The quota has space for one of them. The others are refused, most of them after they were stored."""
    contents = photos.distinct_photos(16)
    room = max(map(len, contents))
    async with running_application(environment, GALLERY_UPLOAD__QUOTA_BYTES=str(room)) as (gallery, client):
        keys = [{"Idempotency-Key": f"{number}"} if number % 2 else {} for number in range(16)]
        answers = await asyncio.gather(*(post(client, c, headers=k) for c, k in zip(contents, keys, strict=True)))
        assert Counter(answer.status_code for answer in answers) == {201: 1, 413: 15}
        assert 0 < await storage_used(gallery) <= room


async def test_the_same_bytes_again_fit_into_a_full_quota(environment):
    content = photos.a_jpeg()
    async with running_application(environment, GALLERY_UPLOAD__QUOTA_BYTES=str(len(content))) as (gallery, client):
        answers = await asyncio.gather(*(post(client, content) for _ in range(16)))
        assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 15}
        assert await storage_used(gallery) == len(content)


async def test_a_delete_frees_quota(environment):
    content = photos.a_jpeg()
    async with running_application(environment, GALLERY_UPLOAD__QUOTA_BYTES=str(len(content))) as (gallery, client):
        for _ in range(3):
            image = (await post(client, content)).json()["id"]
            assert (await post(client, photos.a_png())).status_code == 413
            assert (await client.delete(f"/api/v1/images/{image}")).status_code == 200
            assert (await client.delete(f"/api/v1/images/{image}")).status_code == 404
        assert await storage_used(gallery) == 0


async def test_a_file_larger_than_the_quota_never_fits(environment):
    async with running_application(environment, GALLERY_UPLOAD__QUOTA_BYTES="10") as (gallery, client):
        assert (await post(client)).json()["code"] == "quota_exceeded"
        assert await storage_used(gallery) == 0


async def test_each_owner_has_a_quota_of_its_own(environment):
    content = photos.a_jpeg()
    async with running_application(environment, GALLERY_UPLOAD__QUOTA_BYTES=str(len(content))) as (gallery, _):
        await upload_image(gallery, content)
        await upload_image(gallery, content, caller=NOOR)
        assert await storage_used(gallery) == await storage_used(gallery, NOOR.owner) == len(content)


async def test_bytes_are_counted_without_a_quota_too(gallery):
    images = [await upload_image(gallery) for _ in range(3)]
    await gallery.images.delete(CALLER, images[0].id)
    assert await storage_used(gallery) == images[1].size + images[2].size
    async with gallery.database.writing() as db:
        await db.execute("DELETE FROM image WHERE id = $1", images[0].id)
        await db.execute("UPDATE image SET owner = 'noor' WHERE id = $1", images[1].id)
    assert await storage_used(gallery) == images[2].size
    assert await storage_used(gallery, NOOR.owner) == images[1].size
    async with gallery.database.writing() as db:
        await db.execute("DELETE FROM image WHERE id = $1", images[2].id)
    assert await storage_used(gallery) == 0


async def test_a_worker_does_not_touch_the_count(gallery, processing):
    image = await upload_image(gallery)
    async with gallery.database.primary() as db:
        before = await db.fetchval("SELECT xmin::text FROM storage")
    await processing.process(image.id)
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT xmin::text FROM storage") == before
