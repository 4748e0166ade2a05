"""The sweep: interrupted work is finished from the rows alone."""

import asyncio
from datetime import timedelta

import msgspec
import redis.asyncio as redis

from factories import CALLER, expire_pending_puts, upload_image
from gallery.images import object_rows, store
from gallery.images.model import Status
from gallery.processing.sweep import BATCH
from gallery.wiring import open_gallery


async def execute(gallery, statement, *arguments):
    async with gallery.database.writing() as db:
        return await db.fetchval(statement, *arguments)


async def objects_of(gallery):
    async with gallery.database.primary() as db:
        return {row["key"] for row in await db.fetch("SELECT key FROM object")}


async def flush(settings):
    async with redis.from_url(settings.redis.url) as valkey:
        await valkey.flushdb()


async def test_after_valkey_has_lost_its_data_all_pending_images_are_enqueued(gallery, settings):
    await gallery.sweep.run()
    for _ in range(3):
        await upload_image(gallery)
    await flush(settings)

    assert (await gallery.sweep.run()).enqueued == 3
    counts = await gallery.queue.counts()
    assert counts["prioritized"] + counts["wait"] == 3


async def test_more_than_one_batch_is_enqueued(gallery, settings):
    many = BATCH * 2 + 7
    await execute(
        gallery,
        """
        INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated)
        SELECT gen_random_uuid(), 'everybody', 'x', 'x.jpg', 'image/jpeg', 1, n::text, false
        FROM generate_series(1, $1) AS n
        """,
        many,
    )
    assert (await gallery.sweep.run()).enqueued == many
    assert (await gallery.sweep.run()).enqueued == 0, "and not again at once"


async def test_a_long_queue_is_not_enqueued_again(gallery):
    await gallery.sweep.run()
    await upload_image(gallery)
    assert (await gallery.sweep.run()).enqueued == 0
    await execute(gallery, "UPDATE image SET enqueued_at = now() - interval '2 minutes'")
    assert (await gallery.sweep.run()).enqueued == 1, "a job that no worker has taken for a minute is repeated"


async def test_the_image_of_a_lost_worker_is_enqueued_and_finished(gallery, processing):
    image = await upload_image(gallery)
    async with gallery.database.writing() as db:
        await store.claim(db, image.id, timedelta(seconds=15), "lost worker")
    await execute(gallery, "UPDATE image SET lease_until = now(), enqueued_at = now() - interval '20 s'")
    assert (await gallery.sweep.run()).enqueued == 1
    await processing.process(image.id)
    assert (await gallery.images.get(CALLER, image.id)).status is Status.READY


async def test_a_retry_that_is_not_due_is_not_enqueued(gallery, settings):
    await upload_image(gallery)
    await execute(gallery, "UPDATE image SET next_attempt_at = now() + interval '1 minute'")
    await flush(settings)
    assert (await gallery.sweep.run()).enqueued == 0


async def test_the_objects_of_a_deleted_image_are_removed(gallery, processing, settings):
    image = await upload_image(gallery)
    await processing.process(image.id)
    folder = settings.data_path / "objects"
    assert len([f for f in folder.rglob("*") if f.is_file() and image.id in str(f)]) > 1

    await gallery.images.delete(CALLER, image.id)
    assert (await gallery.sweep.run()).removed > 1

    assert [f for f in folder.rglob("*") if f.is_file() and image.id in str(f)] == []
    await expire_pending_puts(gallery)
    await gallery.sweep.run()
    assert await objects_of(gallery) == set()


async def test_the_object_of_an_upload_that_died_before_its_commit_is_removed(gallery, settings):
    await object_rows.reserve(gallery.database, "00000000-0000-7000-8000-000000000001", None, ["original/orphan"])
    await gallery.objects.put("original/orphan", b"orphan")

    assert (await gallery.sweep.run()).removed == 0, "the upload may still commit"
    await execute(gallery, "UPDATE object SET remove_after = now()")
    assert (await gallery.sweep.run()).removed == 1
    assert not (settings.data_path / "objects" / "original" / "orphan").exists()


async def test_objects_being_removed_cannot_be_kept(gallery):
    await object_rows.reserve(gallery.database, "00000000-0000-7000-8000-000000000001", None, ["a", "b"])
    await execute(gallery, "UPDATE object SET remove_after = now() WHERE key = 'a'")
    async with gallery.database.writing() as db:
        assert await object_rows.mark_for_removal(db, 10) == ["a"]
    async with gallery.database.writing() as db:
        assert not await object_rows.keep(db, ["a", "b"])


async def test_released_objects_cannot_be_kept(gallery):
    """Neither before the sweep has removed them nor while they wait to be removed again."""
    image_id = "00000000-0000-7000-8000-000000000001"
    await object_rows.reserve(gallery.database, image_id, None, ["original/orphan"])
    async with gallery.database.writing() as db:
        await object_rows.release(db, image_id)
    for _ in range(2):
        async with gallery.database.writing() as db:
            assert not await object_rows.keep(db, ["original/orphan"])
        await gallery.sweep.run()


async def test_the_objects_of_a_ready_image_stay(gallery, processing):
    image = await upload_image(gallery)
    await processing.process(image.id)
    before = await objects_of(gallery)
    async with gallery.database.writing() as db:
        await object_rows.release(db, image.id, attempt=1)  # a late worker's mistake: the row points there
    assert (await gallery.sweep.run()).removed == 0
    assert await objects_of(gallery) == before


async def test_one_of_many_workers_sweeps_in_each_interval(gallery):
    locks = await asyncio.gather(*(gallery.sweep.try_lock(timedelta(seconds=5)) for _ in range(10)))
    assert sum(locks) == 1


async def test_the_row_of_a_deleted_image_is_purged(gallery):
    image = await upload_image(gallery)
    await gallery.images.delete(CALLER, image.id)
    await gallery.sweep.run()
    await expire_pending_puts(gallery)
    await execute(gallery, "UPDATE image SET deleted_at = now() - interval '2 hours'")
    await gallery.sweep.run()
    assert await execute(gallery, "SELECT count(*) FROM image") == 0


async def test_objects_are_removed_while_valkey_is_unavailable(settings):
    unavailable = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_gallery(msgspec.structs.replace(settings, redis=unavailable)) as gallery:
        image = await upload_image(gallery)
        await gallery.images.delete(CALLER, image.id)
        assert (await gallery.sweep.run()).removed == 1


async def test_uploads_during_an_outage_of_valkey_are_enqueued_after_it(gallery, settings):
    """Valkey has lost no data, so only the rows show that jobs are missing."""
    await gallery.sweep.run()
    unavailable = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_gallery(msgspec.structs.replace(settings, redis=unavailable)) as offline:
        await upload_image(offline)
    assert (await gallery.sweep.run()).enqueued == 1
    assert (await gallery.sweep.run()).enqueued == 0
