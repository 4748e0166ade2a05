"""Processing: claim, render, settle; and the outcome of each kind of failure."""

import asyncio
import shutil
import time
from contextlib import suppress
from datetime import timedelta

import msgspec
import psutil
import pytest

import photos
from factories import CALLER, expire_pending_puts, stored_keys, upload_image
from faults.proxy import Proxy
from gallery.errors import ImageNotFound, ObjectStoreUnavailable
from gallery.images import object_rows, store
from gallery.images.model import Edit, Status
from gallery.images.timeline import Stage
from gallery.jobs import progress
from gallery.processing.service import max_attempts
from gallery.settings import Settings
from gallery.wiring import open_gallery, open_processing


async def status(gallery, image):
    return (await gallery.images.get(CALLER, image.id)).status


async def execute(gallery, statement, *arguments):
    async with gallery.database.writing() as db:
        return await db.fetchval(statement, *arguments)


async def make_due(gallery, image):
    """Make the image's next attempt due now."""
    await execute(gallery, "UPDATE image SET next_attempt_at = now() WHERE id = $1", image.id)


async def lose_lease(gallery, image):
    await execute(gallery, "UPDATE image SET lease_until = now() WHERE id = $1", image.id)


async def test_a_photo_becomes_ready(gallery, processing):
    image = await upload_image(gallery, photos.a_jpeg(width=1200, height=900))

    await processing.process(image.id)

    ready = await gallery.images.get(CALLER, image.id)
    assert (ready.status, ready.width, ready.height, ready.attempt) == (Status.READY, 1200, 900, 1)
    assert {(r.name, r.format, r.width, r.height) for r in ready.renditions} == {
        (name, format_, width, height)
        for name, width, height in (("320", 320, 240), ("960", 960, 720), ("1920", 1200, 900))
        for format_ in ("webp", "jpeg")
    }
    for rendition in ready.renditions:
        chunks = await gallery.pictures.open(ready.rendition_key(rendition), rendition.size)
        picture = b"".join([chunk async for chunk in chunks])
        assert len(picture) == rendition.size
        assert photos.opened(picture).size == (rendition.width, rendition.height)


async def test_every_step_is_an_event_in_order(gallery, processing):
    image = await upload_image(gallery)
    await processing.process(image.id)
    await gallery.events.number_and_read(0)
    events = [e.event for e in await gallery.events.read_after(0)]
    assert [(e.type, e.version) for e in events] == [
        ("image.uploaded", 1),
        ("image.processing", 2),
        ("image.ready", 3),
    ]
    assert msgspec.json.decode(events[-1].data)["s3Url"] == f"/api/v1/images/{image.id}/original"


async def test_a_second_delivery_does_nothing(gallery, processing):
    image = await upload_image(gallery)
    await asyncio.gather(*(processing.process(image.id) for _ in range(5)))
    ready = await gallery.images.get(CALLER, image.id)
    assert (ready.status, ready.attempt, ready.version) == (Status.READY, 1, 3)


async def test_a_damaged_picture_fails_at_once_with_a_reason(gallery, processing):
    whole = photos.a_jpeg()
    image = await upload_image(gallery, whole[: len(whole) // 2])
    await processing.process(image.id)
    failed = await gallery.images.get(CALLER, image.id)
    assert (failed.status, failed.error_code, failed.attempt) == (Status.FAILED, "damaged_picture", 1)
    assert failed.error_message == "The picture is damaged or incomplete and cannot be read."


async def test_a_decoder_with_an_unexpected_error_has_three_strikes(gallery, processing, monkeypatch):
    async def raise_unexpected(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr(processing._resources.pool, "run", raise_unexpected)
    image = await upload_image(gallery)
    for _ in range(3):
        await make_due(gallery, image)
        await processing.process(image.id)
    failed = await gallery.images.get(CALLER, image.id)
    assert (failed.status, failed.error_code, failed.attempt) == (Status.FAILED, "renderer_failed", 3)


async def test_an_original_missing_from_the_disk_is_not_the_pictures_fault(gallery, processing, monkeypatch):
    run = processing._resources.pool.run

    async def run_without_file(work, original, *more):
        await asyncio.to_thread(original.unlink)
        return await run(work, original, *more)

    image = await upload_image(gallery)
    with monkeypatch.context() as patched:
        patched.setattr(processing._resources.pool, "run", run_without_file)
        await processing.process(image.id)
    deferred = await gallery.images.get(CALLER, image.id)
    assert (deferred.status, deferred.strikes, deferred.deferrals) == (Status.PENDING, 0, 1)
    await make_due(gallery, image)
    await processing.process(image.id)
    assert await status(gallery, image) is Status.READY


async def test_a_put_that_arrives_after_its_attempt_was_abandoned_is_removed(gallery, processing, monkeypatch):
    """The store may still apply a request after its sender has timed out."""
    image, late = await upload_image(gallery), []

    async def fail_put(puts):
        late.append(puts[0].key)
        raise ObjectStoreUnavailable(key=puts[0].key)

    with monkeypatch.context() as patched:
        patched.setattr(gallery.objects, "put_all", fail_put)
        await processing.process(image.id)
    await assert_late_put_removed(gallery, late[0])


async def assert_late_put_removed(gallery, key):
    """A put is applied after the sweep has removed its key; it does not stay."""
    await gallery.sweep.run()
    assert key not in await stored_keys(gallery)
    await gallery.objects.put(key, b"late")
    await gallery.sweep.run()
    assert key in await stored_keys(gallery), "the sweep does not look for it all the time"
    await expire_pending_puts(gallery)
    await gallery.sweep.run()
    assert key not in await stored_keys(gallery)
    assert await execute(gallery, "SELECT count(*) FROM object WHERE key = $1", key) == 0, "its row is removed too"


async def test_a_put_that_arrives_after_its_image_was_deleted_is_removed(gallery, processing, monkeypatch):
    """The worker dies during its put, so that only the delete releases its keys."""
    image, late = await upload_image(gallery), []

    async def die(puts):
        late.append(puts[0].key)
        raise SystemError("as if killed")

    with monkeypatch.context() as patched, pytest.raises(SystemError):
        patched.setattr(gallery.objects, "put_all", die)
        await processing.process(image.id)
    await execute(gallery, "UPDATE object SET created_at = now() - interval '20 minutes'")  # a slow store
    await gallery.images.delete(CALLER, image.id)
    await assert_late_put_removed(gallery, late[0])


async def test_a_second_copy_of_a_put_that_arrives_after_a_delete_is_removed(gallery):
    """A store's client retries a lost request, whose first copy may still arrive after the delete."""
    image = await upload_image(gallery)
    await gallery.images.delete(CALLER, image.id)
    await assert_late_put_removed(gallery, image.original_key)


async def test_a_worker_without_its_scratch_directory_leaves_the_image_to_others(gallery, processing):
    shutil.rmtree(processing._resources.scratch)
    image = await upload_image(gallery)
    await processing.process(image.id)
    deferred = await gallery.images.get(CALLER, image.id)
    assert (deferred.status, deferred.strikes, deferred.deferrals) == (Status.PENDING, 0, 1)
    await make_due(gallery, image)
    async with open_processing(gallery, "another") as another:
        await another.process(image.id)
    assert await status(gallery, image) is Status.READY


async def test_a_deleted_image_stays_deleted(gallery, processing):
    image = await upload_image(gallery)
    await gallery.images.delete(CALLER, image.id)
    await processing.process(image.id)  # a late worker
    with pytest.raises(ImageNotFound):
        await gallery.images.get(CALLER, image.id)


class GatedPool:
    """A pool that renders after `released` is set."""

    def __init__(self, pool):
        self.started, self.released, self._pool = asyncio.Event(), asyncio.Event(), pool
        self.slots = pool.slots

    async def run(self, *work):
        self.started.set()
        await self.released.wait()
        return await self._pool.run(*work)


@pytest.fixture
async def gated_worker(gallery):
    """A worker with a `GatedPool`, and the pool."""
    async with open_processing(gallery, name="worker") as processing:
        resources = processing._resources
        pool = GatedPool(resources.pool)
        processing._resources = msgspec.structs.replace(resources, pool=pool)
        yield processing, pool


async def test_a_delete_during_processing_wins(gallery, gated_worker):
    processing, pool = gated_worker
    image = await upload_image(gallery)
    working = asyncio.create_task(processing.process(image.id))
    await pool.started.wait()
    await gallery.images.delete(CALLER, image.id)
    pool.released.set()
    await working

    assert "image.ready" not in await event_types(gallery)
    swept = await gallery.sweep.run()
    assert swept.removed >= 1
    assert await stored_keys(gallery) == set(), "the worker's renditions are removed too"


async def event_types(gallery):
    await gallery.events.number_and_read(0)
    return [e.event.type for e in await gallery.events.read_after(0)]


async def test_the_next_image_is_fetched_while_the_only_renderer_works(settings):
    """It keeps its lease, and its deadline begins with its renderer."""
    one = msgspec.structs.replace(settings.worker, concurrency=1, lease=2, deadline=6)
    async with open_gallery(msgspec.structs.replace(settings, worker=one)) as gallery:
        images = [await upload_image(gallery) for _ in range(3)]
        async with open_processing(gallery, name="worker") as processing:
            pool, run = processing._resources.pool, processing._resources.pool.run
            running, stages = [], []

            async def run_slowly(*work):
                running.append(1)
                assert len(running) == 1, "one renderer, one picture"
                try:
                    await run(time.sleep, 2.5)
                    return await run(*work)
                finally:
                    running.pop()

            pool.run = run_slowly
            progress.reporter.set(stages.append)
            working = [asyncio.create_task(processing.process(image.id)) for image in images]
            while [state.stage for state in stages].count("waiting") < 3:
                await asyncio.sleep(0.01)
            assert [state.stage for state in stages].count("rendering") == 1
            assert [await status(gallery, image) for image in images] == [Status.PROCESSING] * 3
            originals = list(processing._resources.scratch.glob("*/original"))
            assert [file.stat().st_size for file in originals] == [image.size for image in images]
            await asyncio.gather(*working)
        ready = [await gallery.images.get(CALLER, image.id) for image in images]
    assert [(each.status, each.attempt, each.strikes) for each in ready] == [(Status.READY, 1, 0)] * 3


@pytest.mark.parametrize(("renderers", "attempts"), [(1, 3), (2, 4), (4, 6), (16, 24)])
def test_a_worker_makes_more_attempts_than_it_has_renderers(renderers, attempts):
    assert max_attempts(renderers) == attempts


async def test_a_stopped_worker_hands_back_the_images_that_wait_for_a_renderer(gallery, gated_worker):
    processing, pool = gated_worker
    images = [await upload_image(gallery) for _ in range(4)]
    working = [asyncio.create_task(processing.process(image.id)) for image in images]
    while [await status(gallery, image) for image in images] != [Status.PROCESSING] * 4:
        await asyncio.sleep(0.01)
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    assert [await status(gallery, image) for image in images] == [Status.PENDING] * 4
    pool.released.set()
    await asyncio.gather(*(processing.process(image.id) for image in images))
    assert [await status(gallery, image) for image in images] == [Status.READY] * 4, "no renderer is held any more"


async def test_an_edit_during_processing_is_kept(gallery, processing):
    image = await upload_image(gallery)
    async with gallery.database.writing() as db:
        claimed = await store.claim(db, image.id, timedelta(seconds=15), "another worker")
    await gallery.images.edit(CALLER, image.id, Edit(title="Dawn"))
    await lose_lease(gallery, image)
    await processing.process(image.id)
    ready = await gallery.images.get(CALLER, image.id)
    assert (ready.status, ready.title) == (Status.READY, "Dawn")
    assert ready.version > claimed.version + 1


async def test_a_worker_that_lost_its_lease_changes_nothing(gallery, processing):
    image = await upload_image(gallery)
    async with gallery.database.writing() as db:
        late = await store.claim(db, image.id, timedelta(seconds=15), "late worker")
    await lose_lease(gallery, image)
    await processing.process(image.id)

    async with gallery.database.writing() as db:
        assert await store.settle_failed(db, late, "late", "Too late.") is None
        assert await store.reschedule(db, late, 1, 0, timedelta()) is None
        assert not await store.renew(db, late, timedelta(seconds=15))
    assert await status(gallery, image) is Status.READY


async def test_an_image_with_a_live_lease_is_enqueued_for_its_end(gallery, processing):
    image = await upload_image(gallery)
    async with gallery.database.writing() as db:
        await store.claim(db, image.id, timedelta(seconds=15), "another worker")
    await processing.process(image.id)
    assert (await gallery.images.get(CALLER, image.id)).attempt == 1
    assert (await gallery.queue.counts())["delayed"] == 1


async def test_a_killed_renderer_is_a_strike_and_another_takes_over(gallery, processing):
    image = await upload_image(gallery, photos.an_interlaced_png(7000, 7000))  # takes two seconds
    working = asyncio.create_task(processing.process(image.id))
    await kill_renderer(processing)
    await working

    struck = await gallery.images.get(CALLER, image.id)
    assert (struck.status, struck.strikes) == (Status.PENDING, 1)
    assert struck.next_attempt_at > struck.updated_at
    assert (await gallery.queue.counts())["delayed"] == 1, "BullMQ delivers when it is due"

    await make_due(gallery, image)
    await processing.process(image.id)
    assert await status(gallery, image) is Status.READY


async def kill_renderer(processing):
    """Kill the renderer as soon as it reads the picture."""
    async with asyncio.timeout(20):
        while True:
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # it has ended since
                    if any(file.path.startswith(str(processing._resources.scratch)) for file in child.open_files()):
                        child.kill()
                        return
            await asyncio.sleep(0.01)


async def test_three_strikes_and_it_has_failed(settings):
    short_deadline = msgspec.structs.replace(settings.worker, deadline=0.01)
    async with open_gallery(msgspec.structs.replace(settings, worker=short_deadline)) as gallery:
        image = await upload_image(gallery)
        async with open_processing(gallery) as processing:
            for strikes in (1, 2):
                await processing.process(image.id)
                assert (await gallery.images.get(CALLER, image.id)).strikes == strikes
                await make_due(gallery, image)
            await processing.process(image.id)
        failed = await gallery.images.get(CALLER, image.id)
        assert (failed.status, failed.error_code) == (Status.FAILED, "renderer_timed_out")


async def test_a_renderer_without_memory_fails_the_picture_and_nothing_else(settings):
    low_memory = msgspec.structs.replace(settings.worker, memory=256 * 1024 * 1024)
    async with open_gallery(msgspec.structs.replace(settings, worker=low_memory)) as gallery:
        large = await upload_image(gallery, photos.a_greedy_gif())
        small = await upload_image(gallery)
        async with open_processing(gallery) as processing:
            for _ in range(3):
                await processing.process(large.id)
                await make_due(gallery, large)
            await processing.process(small.id)
        failed = await gallery.images.get(CALLER, large.id)
        assert failed.status is Status.FAILED
        assert failed.error_code in ("renderer_out_of_memory", "renderer_crashed")
        assert await status(gallery, small) is Status.READY


async def test_a_picture_that_takes_more_memory_than_this_worker_has_fails_at_once(settings):
    """The API that accepted it has another limit."""
    low_memory = msgspec.structs.replace(settings.worker, memory=256 * 1024 * 1024)
    async with open_gallery(settings) as generous:
        image = await upload_image(generous, photos.an_interlaced_png(5000, 5000))
    async with open_gallery(msgspec.structs.replace(settings, worker=low_memory)) as gallery:
        async with open_processing(gallery) as processing:
            await processing.process(image.id)
        failed = await gallery.images.get(CALLER, image.id)
        assert (failed.status, failed.error_code, failed.strikes) == (Status.FAILED, "too_much_memory", 0)
        assert "(GALLERY_WORKER__MEMORY=268435456)" in failed.error_message


async def test_an_object_that_comes_back_damaged_is_not_accepted(gallery, processing, settings):
    image = await upload_image(gallery)
    original = settings.data_path / "objects" / image.original_key
    original.write_bytes(original.read_bytes()[:-1000])
    await processing.process(image.id)
    waiting = await gallery.images.get(CALLER, image.id)
    assert (waiting.status, waiting.deferrals, waiting.strikes) == (Status.PENDING, 1, 0)


async def test_an_unavailable_store_is_waited_for_without_a_strike(gallery, processing, settings):
    image = await upload_image(gallery)
    objects = settings.data_path / "objects"
    objects.rename(settings.data_path / "elsewhere")
    for deferrals in (1, 2, 3, 4):
        await processing.process(image.id)
        waiting = await gallery.images.get(CALLER, image.id)
        assert (waiting.status, waiting.deferrals, waiting.strikes) == (Status.PENDING, deferrals, 0)
        await make_due(gallery, image)
    (settings.data_path / "elsewhere").rename(objects)
    await processing.process(image.id)
    assert await status(gallery, image) is Status.READY


async def test_a_stopped_worker_hands_its_image_back_at_once(gallery, gated_worker):
    processing, pool = gated_worker
    image = await upload_image(gallery)
    working = asyncio.create_task(processing.process(image.id))
    await pool.started.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    pool.released.set()

    back = await gallery.images.get(CALLER, image.id)
    assert (back.status, back.strikes, back.deferrals) == (Status.PENDING, 0, 0)
    await processing.process(image.id)
    assert await status(gallery, image) is Status.READY


async def test_a_worker_stopped_during_a_claim_hands_the_image_back(gallery, processing, monkeypatch):
    """Its claim is committed, but not published yet."""
    image = await upload_image(gallery)
    publishing, released = asyncio.Event(), asyncio.Event()
    publish = processing._outbox.publish

    async def publish_later(*images):
        publishing.set()
        await released.wait()
        await publish(*images)

    with monkeypatch.context() as patched:
        patched.setattr(processing._outbox, "publish", publish_later)
        working = asyncio.create_task(processing.process(image.id))
        await publishing.wait()
        working.cancel()
        await asyncio.sleep(0)
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await working

    assert await status(gallery, image) is Status.PENDING
    await processing.process(image.id)
    assert await status(gallery, image) is Status.READY


async def test_ten_lost_workers_in_a_row_fail_the_image(gallery, processing):
    image = await upload_image(gallery)
    for _ in range(10):
        async with gallery.database.writing() as db:
            assert await store.claim(db, image.id, timedelta(seconds=15), "lost worker")
        await lose_lease(gallery, image)
    await processing.process(image.id)
    failed = await gallery.images.get(CALLER, image.id)
    assert (failed.status, failed.error_code, failed.strikes) == (Status.FAILED, "worker_lost", 0)


async def test_the_lease_is_renewed_while_the_picture_is_rendered(settings):
    short = msgspec.structs.replace(settings.worker, lease=0.3)
    async with open_gallery(msgspec.structs.replace(settings, worker=short)) as gallery:
        image = await upload_image(gallery, photos.a_twelve_megapixel_photo())
        async with open_processing(gallery) as processing:
            await processing.process(image.id)
        ready = await gallery.images.get(CALLER, image.id)
        assert (ready.status, ready.attempt, ready.losses) == (Status.READY, 1, 0)


async def test_an_image_is_not_ready_when_its_renditions_are_being_removed(gallery, processing, monkeypatch):
    """A worker was frozen until the sweep marked its renditions; it must not settle with objects that are removed."""
    image = await upload_image(gallery)
    put = processing._put

    async def put_and_freeze(image, rendered, folder):
        await put(image, rendered, folder)
        await execute(gallery, "UPDATE object SET remove_after = now() WHERE attempt = 1")
        async with gallery.database.writing() as db:
            await object_rows.mark_for_removal(db, 100)

    monkeypatch.setattr(processing, "_put", put_and_freeze)
    await processing.process(image.id)
    assert await status(gallery, image) is Status.PROCESSING, "its lease expires, and another attempt is made"
    assert "image.ready" not in await event_types(gallery)


# --- an unavailable database ------------------------------------------------------------------------------------------


@pytest.fixture
async def proxied_gallery(environment):
    """An application behind a proxy to PostgreSQL, its worker, and the proxy."""
    async with Proxy(environment["DATABASE_URL"]) as proxy:
        given = {**environment, "DATABASE_URL": proxy.url, "GALLERY_DATABASE__TIMEOUT": "10"}
        async with open_gallery(Settings.read(given)) as gallery, open_processing(gallery) as processing:
            yield gallery, processing, proxy


def disconnect(proxy):
    proxy.refusing = True
    proxy.reset_connections()


async def wait_for_retry(capsys):
    while "image.database_unavailable" not in capsys.readouterr().out:
        await asyncio.sleep(0.05)


async def start_without_database(proxied_gallery, capsys):
    """An image, and the task that waits for the database to process it."""
    gallery, processing, proxy = proxied_gallery
    image = await upload_image(gallery)
    disconnect(proxy)
    working = asyncio.create_task(processing.process(image.id))
    await wait_for_retry(capsys)
    return image, working


async def test_a_claim_waits_for_an_unavailable_database(proxied_gallery, capsys):
    gallery, _, proxy = proxied_gallery
    image, working = await start_without_database(proxied_gallery, capsys)
    proxy.restore()
    await working
    assert await status(gallery, image) is Status.READY


async def test_an_attempt_is_deferred_as_soon_as_the_database_is_available(proxied_gallery, capsys, monkeypatch):
    gallery, processing, proxy = proxied_gallery
    render = processing._resources.pool.run

    async def render_and_disconnect(*work):
        rendered = await render(*work)
        disconnect(proxy)
        return rendered

    image = await upload_image(gallery)
    with monkeypatch.context() as patched:
        patched.setattr(processing._resources.pool, "run", render_and_disconnect)
        working = asyncio.create_task(processing.process(image.id))
        await wait_for_retry(capsys)
    proxy.restore()
    await working
    deferred = await gallery.images.get(CALLER, image.id)
    assert (deferred.status, deferred.strikes, deferred.deferrals, deferred.attempt) == (Status.PENDING, 0, 1, 1)
    entries = await gallery.images.timeline(CALLER, image.id)
    assert (entries[-1].stage, entries[-1].code) == (Stage.DEFERRED, "database_away")
    await make_due(gallery, image)
    await processing.process(image.id)
    assert await status(gallery, image) is Status.READY


async def test_waiting_for_the_database_can_be_cancelled(proxied_gallery, capsys):
    _, working = await start_without_database(proxied_gallery, capsys)
    working.cancel()
    await asyncio.wait([working], timeout=5)
    assert working.cancelled()
