"""The rows of pictures on demand and of their objects."""

from uuid import uuid4

import pytest

import photos
from factories import upload_image
from gallery.delivery import picture_store
from gallery.delivery.picture_maker import LEASE
from gallery.delivery.picture_store import PictureId

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
