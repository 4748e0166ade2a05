"""The order of processing: lane by lane, owners in turn, and no image starves."""

import asyncio
from itertools import pairwise

import pytest
import redis.asyncio as redis
from bullmq import Worker

from factories import CALLER, upload_image
from gallery.access.model import Caller, Owner, Scope
from gallery.images.jobs import priority
from gallery.images.model import Lane
from gallery.images.store import MAX_QUEUE_POSITION
from gallery.jobs.queue import KEY_PREFIX, QUEUE_NAME

LEO = Caller(owner=Owner("leo"), scopes=frozenset(Scope))
ADD = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated, queue_position, enqueued_at)
    SELECT gen_random_uuid(), $1, n::text, 'x.jpg', 'image/jpeg', 1, $1 || n::text, false, n, '-infinity'
    FROM generate_series($2::integer, $3::integer) AS n
"""


async def execute(gallery, statement, *arguments):
    async with gallery.database.writing() as db:
        return await db.fetchval(statement, *arguments)


async def processing_order(gallery, settings, limit=10_000):
    """The images in the order in which a worker gets them, each once; the queue is empty afterwards."""
    order: dict[str, None] = {}

    async def take(job, _token):
        order.setdefault(job.data["id"])

    async with redis.from_url(str(settings.redis.url), decode_responses=True) as client:
        worker = Worker(
            QUEUE_NAME, take, {"connection": client, "prefix": KEY_PREFIX, "autorun": False, "concurrency": 1}
        )
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(60):
            while True:
                counts = await gallery.queue.counts()
                if not counts["prioritized"] + counts["wait"] + counts["active"] or len(order) >= limit:
                    break
                await asyncio.sleep(0.02)
        await worker.close()
        await running
    return list(order)


async def owners(gallery, images):
    async with gallery.database.primary() as db:
        rows = await db.fetch("SELECT id::text, owner FROM image")
    names = {row["id"]: row["owner"] for row in rows}
    return [names[image] for image in images]


async def test_owners_take_turns(gallery, settings):
    maya = [(await upload_image(gallery)).id for _ in range(3)]
    leo = [(await upload_image(gallery, caller=LEO)).id for _ in range(2)]
    assert await processing_order(gallery, settings) == [maya[0], leo[0], maya[1], leo[1], maya[2]]


async def test_an_owner_with_a_thousand_images_does_not_delay_another(gallery, settings):
    """Also after Valkey has lost its data: the order is rebuilt from the rows."""
    await execute(gallery, ADD, CALLER.owner, 1, 1000)
    only = await upload_image(gallery, caller=LEO)
    await gallery.valkey.call(lambda server: server.flushdb())
    assert (await gallery.sweep.run()).enqueued == 1001
    order = await processing_order(gallery, settings)
    assert len(order) == 1001
    assert order.index(only.id) <= 1
    assert (await owners(gallery, order)).count(LEO.owner) == 1


async def test_bulk_waits_for_interactive(gallery, settings):
    bulk = [(await upload_image(gallery, lane=Lane.BULK)).id for _ in range(2)]
    interactive = [(await upload_image(gallery)).id for _ in range(2)]
    assert await processing_order(gallery, settings) == interactive + bulk


async def test_maintenance_waits_for_all_other_lanes(gallery, processing, settings):
    image = await upload_image(gallery)
    await processing.process(image.id)
    await processing_order(gallery, settings)
    again = await gallery.images.reprocess(CALLER, image.id)
    assert (again.lane, again.queue_position) == (Lane.MAINTENANCE, 1)
    bulk = await upload_image(gallery, lane=Lane.BULK)
    assert await processing_order(gallery, settings) == [bulk.id, image.id]


async def test_an_owner_without_waiting_images_starts_at_position_one(gallery, processing):
    images = [await upload_image(gallery) for _ in range(3)]
    assert [image.queue_position for image in images] == [1, 2, 3]
    assert (await upload_image(gallery, lane=Lane.BULK)).queue_position == 1, "each lane is counted by itself"
    assert (await upload_image(gallery, caller=LEO)).queue_position == 1
    for image in images:
        await processing.process(image.id)
    assert (await upload_image(gallery)).queue_position == 1


async def test_the_positions_of_one_owner_are_bounded(gallery):
    for first in range(0, MAX_QUEUE_POSITION + 5, 1000):  # none that a slow machine breaks off
        await execute(gallery, ADD, CALLER.owner, first + 1, min(first + 1000, MAX_QUEUE_POSITION + 5))
    image = await upload_image(gallery)
    assert image.queue_position == MAX_QUEUE_POSITION
    assert priority(Lane.INTERACTIVE, image.queue_position) < priority(Lane.BULK, 1)


@pytest.mark.parametrize("lanes", list(pairwise(Lane)))
def test_the_last_position_of_a_lane_is_before_the_first_of_the_next(lanes):
    sooner, later = lanes
    assert 1 <= priority(sooner, 10**9) < priority(later, 1) < 2_097_152


async def test_an_image_that_has_waited_for_a_minute_goes_first(gallery, settings):
    """A steady load of interactive images does not delay a bulk image without end."""
    await gallery.sweep.run()
    bulk = [(await upload_image(gallery, lane=Lane.BULK)).id for _ in range(3)]
    await execute(gallery, "UPDATE image SET next_attempt_at = now() - interval '61 s' WHERE id = $1", bulk[1])
    interactive = [(await upload_image(gallery, caller=Caller(owner=Owner(f"guest {n}")))).id for n in range(5)]
    for _ in range(3):
        await gallery.sweep.run()
    late = await upload_image(gallery, caller=LEO)
    order = await processing_order(gallery, settings)
    assert order.index(bulk[1]) <= len(interactive), "after the images that were ahead already, before later ones"
    assert order.index(bulk[1]) < order.index(late.id) < order.index(bulk[0]) < order.index(bulk[2])


async def expire_deduplication(settings):
    """Remove the queue's deduplication keys that have a time to live."""
    async with redis.from_url(str(settings.redis.url)) as valkey:
        async for key in valkey.scan_iter(f"{KEY_PREFIX}:{QUEUE_NAME}:de:*"):
            if await valkey.pttl(key) > 0:
                await valkey.delete(key)


async def test_a_job_repeated_for_hours_is_queued_twice(gallery, settings):
    """The first job, which waits or was lost, and one more: a long queue does not grow while it waits."""
    await gallery.sweep.run()
    await upload_image(gallery)
    for _ in range(5):
        await expire_deduplication(settings)
        await execute(gallery, "UPDATE image SET enqueued_at = now() - interval '2 minutes'")
        assert (await gallery.sweep.run()).enqueued == 1
    assert (await gallery.queue.counts())["prioritized"] == 2
