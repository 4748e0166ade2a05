"""The rows of pictures on demand and of their objects."""

import asyncio
from uuid import uuid4

import pytest

import photos
from factories import upload_image
from gallery.delivery import picture_store
from gallery.delivery.picture_maker import LEASE
from gallery.delivery.picture_store import PictureId
from gallery.images import object_rows

DIGEST = "0" * 32
KEY = "pictures/x/1.webp"


@pytest.fixture
async def picture(gallery):
    return PictureId((await upload_image(gallery, photos.a_jpeg())).id, DIGEST)


async def claim(gallery, picture, key=KEY):
    """The id of the claim, if it was given."""
    claim_id = uuid4()
    async with gallery.database.primary() as db:
        return claim_id if await picture_store.claim(db, picture, claim_id, LEASE, key) else None


async def keep(gallery, picture, claim_id, key=KEY):
    async with gallery.database.primary() as db:
        return await picture_store.keep(db, picture, claim_id, key, (80, 60), 1000)


async def object_state(gallery, key=KEY):
    """Of the key's row: kept, reserved, or to be removed now; `None` without a row."""
    async with gallery.database.primary() as db:
        return await db.fetchval(
            "SELECT CASE WHEN remove_after IS NULL THEN 'kept' WHEN remove_after > now() THEN 'reserved' ELSE 'due' END"
            " FROM object WHERE key = $1",
            key,
        )


async def kept_key(gallery, picture):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT key FROM picture WHERE image_id = $1 AND digest = $2", *picture)


async def test_a_claim_reserves_its_key_and_keeping_makes_it_permanent(gallery, picture):
    claim_id = await claim(gallery, picture)
    assert await object_state(gallery) == "reserved"
    assert await keep(gallery, picture, claim_id)
    assert (await object_state(gallery), await kept_key(gallery, picture)) == ("kept", KEY)


async def test_a_claim_that_is_not_given_reserves_nothing(gallery, picture):
    assert await claim(gallery, picture)
    assert not await claim(gallery, picture, "pictures/x/2.webp")
    assert await object_state(gallery, "pictures/x/2.webp") is None


@pytest.mark.parametrize(
    "overtaken_by",
    [
        "UPDATE image SET deleted_at = now() WHERE id = $1",
        "UPDATE picture SET claim = gen_random_uuid() WHERE image_id = $1",
        "UPDATE picture SET key = (SELECT min(key) FROM object WHERE image_id = $1), size = 1 WHERE image_id = $1",
        "UPDATE object SET remove_after = '-infinity' WHERE image_id = $1 AND key LIKE 'pictures/%'",
        "UPDATE object SET remove_again_at = now() WHERE image_id = $1 AND key LIKE 'pictures/%'",
    ],
    ids=["deleted image", "another claim", "made by another", "being removed", "released"],
)
async def test_a_picture_that_was_overtaken_is_not_kept_and_its_key_is_released(gallery, picture, overtaken_by):
    claim_id = await claim(gallery, picture)
    async with gallery.database.primary() as db:
        await db.execute(overtaken_by, picture.image)
    before = await kept_key(gallery, picture)
    assert not await keep(gallery, picture, claim_id)
    assert (await object_state(gallery), await kept_key(gallery, picture)) == ("due", before)


async def test_a_claim_that_is_given_up_releases_its_key(gallery, picture):
    claim_id = await claim(gallery, picture)
    async with gallery.database.primary() as db:
        await picture_store.give_up(db, picture, uuid4(), KEY)
        assert await object_state(gallery) == "reserved"  # the claim is another one's
        await picture_store.give_up(db, picture, claim_id, KEY)
        assert await object_state(gallery) == "due"
        assert await claim(gallery, picture, "pictures/x/2.webp")


async def test_a_kept_picture_is_not_given_up(gallery, picture):
    """By a process that did not hear that it was kept."""
    claim_id = await claim(gallery, picture)
    assert await keep(gallery, picture, claim_id)
    async with gallery.database.primary() as db:
        await picture_store.give_up(db, picture, claim_id, KEY)
    assert (await object_state(gallery), await kept_key(gallery, picture)) == ("kept", KEY)


@pytest.mark.parametrize(
    ("overtaken_by", "kept"),
    [
        ("UPDATE image SET deleted_at = now() WHERE id = $1", False),
        ("UPDATE picture SET claim = gen_random_uuid() WHERE image_id = $1", False),
        ("UPDATE object SET remove_after = '-infinity' WHERE image_id = $1 AND key LIKE 'pictures/%'", False),
        ("UPDATE picture SET lease_until = now() + interval '1 minute' WHERE image_id = $1", True),
        ("UPDATE image SET title = 'another' WHERE id = $1", True),
    ],
    ids=["deleted image", "another claim", "being removed", "renewed claim", "edited image"],
)
async def test_what_happens_at_the_same_moment_is_waited_for(gallery, picture, overtaken_by, kept):
    claim_id = await claim(gallery, picture)
    async with gallery.database.primary() as other:
        changing = other.transaction()
        await changing.start()
        await other.execute(overtaken_by, picture.image)
        keeping = asyncio.create_task(keep(gallery, picture, claim_id))
        await asyncio.sleep(0.2)
        assert not keeping.done()
        await changing.commit()
        assert await keeping is kept
    assert (await object_state(gallery) == "kept", await kept_key(gallery, picture) == KEY) == (kept, kept)


async def test_an_eviction_waits_for_a_delete_of_the_image(gallery, picture):
    assert await keep(gallery, picture, await claim(gallery, picture))
    async with gallery.database.primary() as other, gallery.database.primary() as db:
        deleting = other.transaction()
        await deleting.start()
        await object_rows.release(other, picture.image)
        evicting = asyncio.create_task(picture_store.evict_of_image(db, picture.image, 0))
        await asyncio.sleep(0.2)
        assert not evicting.done()
        await deleting.commit()
        await evicting
    assert (await object_state(gallery), await kept_key(gallery, picture)) == ("due", None)


async def test_a_claim_that_is_renewed_meanwhile_is_not_forgotten(gallery, picture):
    claim_id = await claim(gallery, picture)
    async with gallery.database.primary() as other, gallery.database.primary() as db:
        await other.execute("UPDATE picture SET used_at = now() - interval '2 hours', lease_until = NULL")
        claiming = other.transaction()
        await claiming.start()
        await other.execute("UPDATE picture SET used_at = now(), lease_until = now() + interval '1 minute'")
        forgetting = asyncio.create_task(picture_store.evict(db, 100, max_bytes=10**9))
        await asyncio.sleep(0.2)
        await claiming.commit()
        await forgetting
    assert await keep(gallery, picture, claim_id)


async def test_what_is_forgotten_or_evicted_is_released(gallery, picture):
    assert await keep(gallery, picture, await claim(gallery, picture))
    async with gallery.database.primary() as db:
        await picture_store.forget(db, KEY)
        assert (await object_state(gallery), await kept_key(gallery, picture)) == ("due", None)
        second = "pictures/x/2.webp"
        assert await keep(gallery, picture, await claim(gallery, picture, second), second)
        await picture_store.evict_of_image(db, picture.image, 1)
        assert await object_state(gallery, second) == "kept"
        await picture_store.evict_of_image(db, picture.image, 0)
        assert (await object_state(gallery, second), await kept_key(gallery, picture)) == ("due", None)
