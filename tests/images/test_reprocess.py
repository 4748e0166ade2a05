"""Rendered again: a READY image stays READY and shown until the new renditions are there, and if they never are."""

import asyncio
from datetime import timedelta

import pytest

import photos
from factories import CALLER, post, stored_keys, upload_image, wait_until_settled
from gallery.errors import DamagedPicture, ImageNotFound, ObjectStoreUnavailable, StillProcessing
from gallery.images import store
from gallery.images.model import Status
from gallery.images.timeline import MAX_ENTRIES, Stage


async def fetch_value(gallery, statement, *arguments):
    async with gallery.database.writing() as db:
        return await db.fetchval(statement, *arguments)


async def current(gallery, image):
    return await gallery.images.get(CALLER, image.id)


async def stages(gallery, image):
    return [entry.stage for entry in await gallery.images.timeline(CALLER, image.id)]


async def rendition_bytes(gallery, image):
    """The bytes of all renditions of the image."""
    return [
        b"".join([chunk async for chunk in await gallery.pictures.open(image.rendition_key(rendition), rendition.size)])
        for rendition in image.renditions
    ]


async def event_types(gallery):
    await gallery.events.number_and_read(0)
    return [e.event.type for e in await gallery.events.read_after(0)]


async def ready_image(gallery, processing):
    image = await upload_image(gallery)
    await processing.process(image.id)
    return await current(gallery, image)


async def test_a_ready_image_stays_so_until_the_new_renditions_are_there(gallery, processing):
    before = await ready_image(gallery, processing)
    asked = await gallery.images.reprocess(CALLER, before.id)
    assert (asked.status, asked.renditions, asked.version) == (Status.READY, before.renditions, before.version + 1)
    async with gallery.database.writing() as db:
        claimed = await store.claim(db, before.id, timedelta(seconds=15), "another worker")
    assert (claimed.status, claimed.attempt, claimed.rendered_attempt) == (Status.READY, 2, 1)
    assert all(await rendition_bytes(gallery, await current(gallery, before)))

    await fetch_value(gallery, "UPDATE image SET lease_until = now() WHERE id = $1", before.id)
    await processing.process(before.id)
    after = await current(gallery, before)
    assert (after.status, after.attempt, after.rendered_attempt) == (Status.READY, 3, 3)
    assert all(await rendition_bytes(gallery, after))
    assert (await event_types(gallery))[-3:] == ["image.ready", "image.updated", "image.ready"], "never processing"


async def test_replaced_renditions_stay_for_a_day(gallery, processing):
    before = await ready_image(gallery, processing)
    await gallery.images.reprocess(CALLER, before.id)
    await processing.process(before.id)
    await gallery.sweep.run()
    assert all(await rendition_bytes(gallery, before))
    left = "SELECT min(remove_after) - now() BETWEEN '23 hours 59 minutes' AND '24 hours' FROM object WHERE attempt = 1"
    assert await fetch_value(gallery, left)

    await fetch_value(gallery, "UPDATE object SET remove_after = now() WHERE attempt = 1 AND remove_after IS NOT NULL")
    assert (await gallery.sweep.run()).removed == len(before.renditions)
    assert all(await rendition_bytes(gallery, await current(gallery, before)))


async def test_a_failure_leaves_the_image_as_it_was_and_an_entry_in_the_timeline(gallery, processing, monkeypatch):
    before = await ready_image(gallery, processing)

    async def damaged(*_, **__):
        raise DamagedPicture(reason="bits")

    monkeypatch.setattr(processing._resources.pool, "run", damaged)
    await gallery.images.reprocess(CALLER, before.id)
    await processing.process(before.id)
    after = await current(gallery, before)
    assert (after.status, after.renditions, after.error_code) == (Status.READY, before.renditions, None)
    assert after.rendered_attempt == before.rendered_attempt
    assert all(await rendition_bytes(gallery, after))
    last = (await gallery.images.timeline(CALLER, before.id))[-1]
    assert (last.stage, last.code, last.attempt) == (Stage.FAILED, "damaged_picture", 2)
    assert (await event_types(gallery))[-1] == "image.updated"
    await gallery.images.reprocess(CALLER, before.id)  # and it may be reprocessed again


async def test_an_image_in_flight_is_refused(gallery, processing):
    image = await upload_image(gallery)
    with pytest.raises(StillProcessing):
        await gallery.images.reprocess(CALLER, image.id)
    await processing.process(image.id)
    answers = await asyncio.gather(
        *(gallery.images.reprocess(CALLER, image.id) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(answer, StillProcessing) for answer in answers) == 9
    async with gallery.database.writing() as db:
        assert await store.claim(db, image.id, timedelta(seconds=15), "somebody")
    with pytest.raises(StillProcessing):
        await gallery.images.reprocess(CALLER, image.id)


async def test_a_failed_image_begins_anew(gallery, processing):
    whole = photos.a_jpeg()
    image = await upload_image(gallery, whole[: len(whole) // 2])
    await processing.process(image.id)
    asked = await gallery.images.reprocess(CALLER, image.id)
    assert (asked.status, asked.error_code) == (Status.PENDING, None)


async def test_a_ready_image_whose_job_was_lost_is_enqueued_by_the_sweep(gallery, processing):
    before = await ready_image(gallery, processing)
    await gallery.images.reprocess(CALLER, before.id)
    await gallery.valkey.call(lambda server: server.flushdb())
    assert (await gallery.sweep.run()).enqueued == 1


async def test_a_delete_while_it_is_rendered_again_wins(gallery, processing):
    before = await ready_image(gallery, processing)
    await gallery.images.reprocess(CALLER, before.id)
    async with gallery.database.writing() as db:
        claimed = await store.claim(db, before.id, timedelta(seconds=15), "somebody")
    await gallery.images.delete(CALLER, before.id)
    async with gallery.database.writing() as db:
        assert await store.settle_failed(db, claimed, "late", "Too late.") is None
    with pytest.raises(ImageNotFound):
        await gallery.images.reprocess(CALLER, before.id)
    await gallery.sweep.run()
    assert await stored_keys(gallery) == set()


async def test_the_timeline_of_a_long_day(gallery, processing, monkeypatch):
    """An unavailable store and a lost worker; then it is READY."""
    image = await upload_image(gallery)

    async def attempt(error):
        async def work(*_):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(processing, "_render_attempt", work)
            await processing.process(image.id)
        await fetch_value(gallery, "UPDATE image SET next_attempt_at = now() WHERE id = $1", image.id)

    await attempt(ObjectStoreUnavailable(reason="no route"))
    async with gallery.database.writing() as db:
        assert await store.claim(db, image.id, timedelta(), "a lost worker")
    await processing.process(image.id)

    entries = await gallery.images.timeline(CALLER, image.id)
    assert [(e.stage, e.attempt, e.worker, e.code) for e in entries] == [
        (Stage.UPLOADED, 0, None, None),
        (Stage.PROCESSING, 1, "worker", None),
        (Stage.DEFERRED, 1, "worker", "object_store_away"),
        (Stage.LOST, 2, None, None),  # it had been claimed behind the timeline's back
        (Stage.PROCESSING, 3, "worker", None),
        (Stage.READY, 3, "worker", None),
    ]
    assert entries[2].next_attempt_at > entries[2].at
    assert entries[-1].duration_ms > 0
    assert entries == sorted(entries, key=lambda entry: entry.at)


async def test_the_timeline_of_an_image_that_waits_for_days_is_bounded(gallery, processing, monkeypatch):
    image = await upload_image(gallery)

    async def away(*_):
        raise ObjectStoreUnavailable(reason="for days")

    monkeypatch.setattr(processing, "_render_attempt", away)
    for _ in range(MAX_ENTRIES):
        await fetch_value(gallery, "UPDATE image SET next_attempt_at = now() WHERE id = $1", image.id)
        await processing.process(image.id)
    entries = await gallery.images.timeline(CALLER, image.id)
    assert len(entries) <= MAX_ENTRIES + 1
    assert entries[0].stage is Stage.UPLOADED
    assert (entries[-1].stage, entries[-1].attempt) == (Stage.DEFERRED, MAX_ENTRIES), "the newest are kept"


async def test_over_http(gallery, processing, client):
    image = (await post(client)).json()["id"]
    await processing.process(image)
    await wait_until_settled(client, image)
    answer = await client.post(f"/api/v1/images/{image}/reprocess")
    assert (answer.status_code, answer.json()["status"]) == (202, "READY")
    again = await client.post(f"/api/v1/images/{image}/reprocess")
    assert (again.status_code, again.json()["code"]) == (409, "still_processing")
    await processing.process(image)

    entries = (await client.get(f"/api/v1/images/{image}/timeline")).json()
    assert [entry["stage"] for entry in entries] == [
        "uploaded", "processing", "ready", "reprocess", "processing", "ready",
    ]  # fmt: skip
    assert set(entries[0]) == {"at", "stage", "attempt", "worker", "durationMs", "code", "nextAttemptAt"}
    assert entries[0]["at"].endswith("Z")
    assert (await client.get("/api/v1/images/nothing/timeline")).status_code == 404
