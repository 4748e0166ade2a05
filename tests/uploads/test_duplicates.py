"""The same bytes again are the image that is there already."""

import asyncio
import json

import asyncpg
import pytest
from msgspec.structs import replace

import photos
from factories import CALLER, listen, make_photo, post, stored_keys, unique_photo, upload_image, wait_until_settled
from gallery.access.model import Caller, Owner
from gallery.errors import TooManyPixels
from gallery.images.model import Status
from gallery.uploads.schema import parse_metadata
from gallery.wiring import open_gallery

PHOTO = photos.a_jpeg(480, 360, seed=5)


async def count(gallery, query, *arguments):
    async with gallery.database.primary() as db:
        return await db.fetchval(query, *arguments)


async def test_the_same_bytes_again_are_the_image_that_is_there(client, gallery):
    first = await post(client, PHOTO, title="Lake", tags=["water"])
    again = await post(client, PHOTO, name="other.jpg", title="Sea", tags=["salt"], alt="The sea")

    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["duplicate"] is False
    assert again.json() == {**first.json(), "duplicate": True}, "its metadata stays as it was"
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["location"] == first.headers["location"]
    assert await count(gallery, "SELECT count(*) FROM object") == 1, "nothing was put a second time"
    assert await count(gallery, "SELECT count(*) FROM event") == 1, "nothing has happened"
    assert "duplicate" not in (await client.get(first.headers["location"])).json()


async def test_other_bytes_are_another_image(client):
    assert (await post(client, PHOTO)).status_code == 201
    assert (await post(client, PHOTO + b"\0")).status_code == 201


async def test_invalid_metadata_is_refused_for_a_duplicate_too(client):
    await post(client, PHOTO)
    assert (await post(client, PHOTO, title="x" * 121)).status_code == 422


async def test_a_duplicate_is_found_after_the_limits_were_lowered(settings):
    async with open_gallery(settings) as gallery:
        first = await upload_image(gallery, PHOTO)
    async with open_gallery(replace(settings, upload=replace(settings.upload, max_pixels=1000))) as gallery:
        assert (await upload_image(gallery, PHOTO)).id == first.id
        with pytest.raises(TooManyPixels):
            await upload_image(gallery, PHOTO + b"\0")


async def test_another_owners_bytes_are_not_mine(gallery):
    mine = await upload_image(gallery, PHOTO)
    theirs = await upload_image(gallery, PHOTO, caller=Caller(owner=Owner("somebody else")))
    assert theirs.id != mine.id


async def test_a_deleted_image_that_is_uploaded_again_is_new(client):
    first = (await post(client, PHOTO)).json()
    await client.delete(f"/api/v1/images/{first['id']}")
    again = await post(client, PHOTO)
    assert again.status_code == 201
    assert again.json()["id"] != first["id"]
    assert (await client.get(f"/api/v1/images/{again.json()['id']}/original")).content == PHOTO


async def test_a_failed_image_gets_another_try(client, gallery, processing):
    content = photos.a_jpeg(480, 360, seed=6)[:9000]  # cut short: it cannot be rendered
    image = (await post(client, content)).json()["id"]
    await processing.process(image)
    failed = await wait_until_settled(client, image)
    assert failed["status"] == "FAILED"
    async with gallery.database.writing() as db:
        await db.execute("UPDATE image SET strikes = 3, losses = 10, deferrals = 5")
        await db.execute("DELETE FROM event")

    async with listen(client) as maya:
        again = await post(client, content, title="Other")
        told = json.loads((await maya.next("image.updated")).data)

    assert again.status_code == 200
    assert again.json()["duplicate"] is True
    assert (again.json()["status"], again.json()["error"]) == ("PENDING", None)
    assert (again.json()["title"], again.json()["version"]) == (failed["title"], failed["version"] + 1)
    assert (told["status"], told["version"]) == ("PENDING", failed["version"] + 1)
    revived = await gallery.images.get(CALLER, image)
    assert (revived.strikes, revived.losses, revived.deferrals) == (0, 0, 0)
    assert (await gallery.queue.counts())["prioritized"] == 2, "it is enqueued again"
    assert (await client.get(f"/api/v1/images/{image}")).json()["status"] == "PENDING", "the cache is invalidated"


async def test_a_ready_image_stays_ready(client, gallery, processing):
    image = await upload_image(gallery, PHOTO)
    await processing.process(image.id)
    again = await post(client, PHOTO)
    assert (again.status_code, again.json()["status"]) == (200, "READY")
    assert (await gallery.images.get(CALLER, image.id)).status is Status.READY


async def test_fifty_uploads_of_the_same_bytes_at_once_are_one_image(client, gallery):
    answers = await asyncio.gather(*(post(client, PHOTO) for _ in range(50)))

    assert sorted(answer.status_code for answer in answers) == [200] * 49 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(gallery, "SELECT count(*) FROM image") == 1
    assert await count(gallery, "SELECT count(*) FROM event") == 1
    await gallery.sweep.run()
    assert len(await stored_keys(gallery)) == 1, "the losers' objects go with the next sweep"
    assert (await client.get(answers[0].headers["location"] + "/original")).content == PHOTO


async def test_uploading_and_deleting_the_same_bytes_at_once_always_answers(client, gallery):
    async def upload_and_delete():
        answer = await post(client, PHOTO)
        assert answer.status_code in (200, 201)
        await client.delete(answer.headers["location"])

    await asyncio.gather(*(upload_and_delete() for _ in range(20)))
    last = await post(client, PHOTO)
    assert last.status_code == 201
    await gallery.sweep.run()
    assert (await client.get(last.headers["location"] + "/original")).content == PHOTO


async def test_an_upload_that_is_overtaken_stores_the_answer_of_the_other_one_only(gallery):
    """What its transaction has written for an image of its own is rolled back; its object goes with the next sweep."""
    answers = []

    async def store_answer(db, uploaded):
        if not answers:
            answers.append(await upload_image(gallery, PHOTO))
        await db.execute("INSERT INTO storage VALUES ($1, $2)", uploaded.image.id, uploaded.duplicate)

    photo = make_photo(PHOTO)
    added = await gallery.new_images.add(CALLER, photo, parse_metadata([], photo.name), store_answer)

    assert added.duplicate
    assert added.image.id == answers[0].id
    assert await count(gallery, "SELECT count(*) FROM storage WHERE owner <> $1", CALLER.owner) == 1
    assert await count(gallery, "SELECT bytes FROM storage WHERE owner = $1::text", added.image.id) == 1
    await gallery.sweep.run()
    assert await stored_keys(gallery) == {added.image.original_key}


async def test_an_upload_whose_twin_is_deleted_meanwhile_is_a_new_image(gallery):
    """The first statement finds the twin, the second looks again."""
    twin = await upload_image(gallery, PHOTO)
    find = gallery.new_images._accept_duplicate

    async def delete_first(*given):
        if not deleted:
            deleted.append(await gallery.images.delete(CALLER, twin.id))
        return await find(*given)

    deleted: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery.new_images, "_accept_duplicate", delete_first)
        image = await upload_image(gallery, PHOTO)
    assert image.id != twin.id
    assert image == await gallery.images.get_current(CALLER, image.id)


async def test_the_table_refuses_a_second_image_of_the_same_bytes(gallery):
    first, second = await upload_image(gallery, PHOTO), await upload_image(gallery, unique_photo())
    with pytest.raises(asyncpg.UniqueViolationError, match="image_unique_content"):
        async with gallery.database.writing() as db:
            await db.execute("UPDATE image SET sha256 = $1 WHERE id = $2", first.sha256, second.id)
