"""The operators' view of the queue, and their actions."""

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import msgspec
import pytest
import redis.asyncio as redis

import photos
from credentials import closed_application, create_api_key
from factories import CALLER, unique_photo, upload_image
from failed_work import fail_jobs
from gallery.images.jobs import PROCESS_JOB
from gallery.images.model import ImageId
from gallery.jobs.queue import Job
from gallery.jobs.worker import consume_jobs
from gallery.paging import Cursor
from gallery.wiring import open_gallery
from image_rows import insert_images

CROSS_ORIGIN = {"Origin": "https://evil.example"}


async def queue_state(client):
    return (await client.get("/admin/queues/state")).json()


async def wait_for(condition, seconds=15):
    """Returns the first true result of `condition`."""
    async with asyncio.timeout(seconds):
        while not (found := await condition()):
            await asyncio.sleep(0.02)
    return found


async def execute(gallery, statement, *values):
    async with gallery.database.writing() as db:
        return await db.execute(statement, *values)


async def make_failed(gallery, *titles, code="damaged_picture"):
    """Images that are FAILED, the last one last."""
    ids = await insert_images(
        gallery, *titles, status="FAILED", work_state=None, error_code=code, error_message="Broken."
    )
    for image in ids:
        await execute(gallery, "UPDATE image SET updated_at = clock_timestamp() WHERE id = $1", image)
    return ids


def titles(answer):
    return [failure["title"] for failure in answer.json()]


@asynccontextmanager
async def running_worker(settings, processing):
    async def process(subject):
        await processing.process(ImageId(subject))

    async with consume_jobs(settings.redis, {PROCESS_JOB: process}, 2, processing.name):
        yield


# --- state ----------------------------------------------------------------------------------------------------------


async def test_each_lane_has_its_counts_and_longest_wait(client, gallery):
    for lane in ("interactive", "interactive", "bulk"):
        await upload_image(gallery, lane=lane)
    later = await upload_image(gallery)
    await execute(gallery, "UPDATE image SET next_attempt_at = now() + interval '1 hour' WHERE id = $1", later.id)
    await execute(gallery, "UPDATE image SET next_attempt_at = now() - interval '90 s' WHERE lane = 'bulk'")
    found = await queue_state(client)
    lanes = {lane["lane"]: lane for lane in found["lanes"]}
    assert [(lane["due"], lane["later"], lane["queued"]) for lane in found["lanes"]] == [
        (2, 1, 3),
        (1, 0, 1),
        (0, 0, 0),
    ]
    assert lanes["bulk"]["oldestSeconds"] >= 90 > lanes["interactive"]["oldestSeconds"] >= 0
    assert lanes["maintenance"]["oldestSeconds"] is None
    assert (found["jobs"]["prioritized"], found["jobs"]["wait"]) == (4, 0), "where LLEN of wait would see nothing"


async def test_a_running_image_has_its_worker_and_progress(client, gallery, processing, settings, monkeypatch):
    go_on = asyncio.Event()
    run = processing._resources.pool.run

    async def wait_and_run(*args):
        await go_on.wait()
        return await run(*args)

    monkeypatch.setattr(processing._resources.pool, "run", wait_and_run)
    image = await upload_image(gallery, title="Lake")

    async def rendering():
        return [r for r in (await queue_state(client))["running"] if r["stage"] == "rendering"]

    async with gallery.worker_registry.registered("worker", "1.2.3", 2), running_worker(settings, processing):
        (running,) = await wait_for(rendering)
        assert (running["id"], running["title"], running["worker"]) == (image.id, "Lake", "worker")
        assert (running["attempt"], running["percent"], running["overdue"]) == (1, 20, False)
        assert running["since"] < running["leaseUntil"]
        (worker,) = (await queue_state(client))["workers"]
        assert (worker["name"], worker["version"], worker["concurrency"]) == ("worker", "1.2.3", 2)
        assert (worker["presence"], worker["doing"]) == ("alive", [image.id])
        go_on.set()

        async def done():
            return sum(minute["ready"] for minute in (await queue_state(client))["throughput"])

        assert await wait_for(done) == 1
    found = await queue_state(client)
    assert len(found["throughput"]) == 60
    last, now = (datetime.fromisoformat(text) for text in (found["throughput"][-1]["minute"], found["at"]))
    assert last <= now
    assert found["running"] == []
    assert found["workers"][0]["presence"] == "ended"


async def test_a_worker_without_heartbeats_is_lost_and_later_not_listed(client, gallery):
    async def presences():
        return [(w["name"], w["presence"]) for w in (await queue_state(client))["workers"]]

    await execute(gallery, "INSERT INTO worker VALUES ('frozen', '1', 2, now(), now() - interval '30 s')")
    await execute(gallery, "INSERT INTO worker VALUES ('long ago', '1', 2, now(), now() - interval '2 hours')")
    async with gallery.worker_registry.registered("here", "1", 2):
        assert await wait_for(lambda: _equals(presences, [("here", "alive"), ("frozen", "lost")]))
    assert await presences() == [("frozen", "lost"), ("here", "ended")]


async def _equals(read, wanted):
    return await read() == wanted


async def test_the_console_works_while_valkey_is_unavailable(settings):
    nowhere = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_gallery(msgspec.structs.replace(settings, redis=nowhere)) as gallery:
        await make_failed(gallery, "Lake")
        found = await gallery.console.state()
        assert (found.jobs, found.bugs, found.lanes[0].queued) == (None, None, None)
        assert [(reason.code, reason.count) for reason in found.failed] == [("damaged_picture", 1)]
        assert (await gallery.console.pause()).paused_since, "the row has it; the sweep pauses the queue"


# --- pause ----------------------------------------------------------------------------------------------------------


async def test_a_pause_survives_the_loss_of_valkeys_data(client, gallery, processing, settings):
    await gallery.sweep.run()
    assert (await client.post("/admin/queues/pause")).json()["pausedSince"]
    assert await gallery.queue._shards[0].isPaused(), "Bull Board shows it"
    image = await upload_image(gallery)
    async with redis.from_url(settings.redis.url) as valkey:
        await valkey.flushdb()
    assert (await gallery.sweep.plan()).enqueued == 0
    assert (await gallery.sweep.run()).enqueued == 0, "no job is enqueued while no worker may take it"
    assert await gallery.queue._shards[0].isPaused()

    await gallery.queue._shards[0].resume()  # in Valkey only, as by Bull Board
    await gallery.queue.enqueue(Job(PROCESS_JOB, image.id))
    async with running_worker(settings, processing):
        await wait_for(lambda: _queue_is_empty(gallery))
        assert (await gallery.images.get(CALLER, image.id)).attempt == 0, "the row decides"
        await gallery.sweep.run()
        assert await gallery.queue._shards[0].isPaused(), "the sweep applies the row"

        assert (await client.post("/admin/queues/resume")).json() == {"pausedSince": None}
        assert (await gallery.sweep.run()).enqueued == 1
        await wait_for(lambda: _is_ready(gallery, image))


async def _queue_is_empty(gallery):
    return sum((await gallery.queue.counts()).values()) == 0


async def _is_ready(gallery, image):
    return (await gallery.images.get(CALLER, image.id)).status == "READY"


async def test_a_running_image_is_finished_after_a_pause(client, gallery, processing, monkeypatch):
    fetch = gallery.objects.fetch

    async def pause_and_fetch(*args, **more):
        await client.post("/admin/queues/pause")
        await fetch(*args, **more)

    monkeypatch.setattr(gallery.objects, "fetch", pause_and_fetch)
    image = await upload_image(gallery)
    await processing.process(image.id)
    assert await _is_ready(gallery, image)


# --- images that failed ---------------------------------------------------------------------------------------------


async def test_failures_come_newest_first_in_pages_and_by_reason(client, gallery):
    await make_failed(gallery, "a", "b", "c")
    await make_failed(gallery, "lost", code="worker_lost")
    first = await client.get("/admin/queues/failed?limit=2")
    assert titles(first) == ["lost", "c"]
    second = await client.get(first.links["next"]["url"])
    assert (titles(second), second.links) == (["b", "a"], {})
    assert titles(await client.get("/admin/queues/failed?code=worker_lost")) == ["lost"]
    assert (await queue_state(client))["failed"] == [
        {"code": "damaged_picture", "count": 3},
        {"code": "worker_lost", "count": 1},
    ]
    cursor = first.links["next"]["url"].partition("cursor=")[2]
    for query in (f"code=worker_lost&cursor={cursor}", "cursor=x", "limit=0", "limit=201", "code="):
        assert (await client.get(f"/admin/queues/failed?{query}")).status_code == 422, query


@pytest.mark.parametrize("code", ["%00", "a%00b", "%FF", "A", "a-b", "%F0%9F%8F%94", "a" * 101, "_a"])
async def test_an_invalid_code_is_refused(client, code):
    for method, path in (
        ("GET", "/admin/queues"),
        ("GET", "/admin/queues/failed"),
        ("POST", "/admin/queues/failed/retry"),
        ("POST", "/admin/queues/failed/drop"),
    ):
        answer = await client.request(method, f"{path}?code={code}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field"), (method, path)


@pytest.mark.parametrize(
    "key",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-01-01T00:00:00+00:00:00.000001",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01",
        "2026-W01-1T00:00:00+00:00",
        5,
        None,
        "",
    ],
)
async def test_a_cursor_with_another_form_of_time_is_refused(client, key):
    for path in ("/admin/queues", "/admin/queues/failed"):
        cursor = Cursor("failed:", key, UUID(int=0)).encode()
        answer = await client.get(f"{path}?cursor={cursor}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_the_first_and_the_last_time_of_all_are_cursors(client):
    for key in ("0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"):
        cursor = Cursor("failed:", key, UUID(int=0)).encode()
        assert (await client.get(f"/admin/queues/failed?cursor={cursor}")).status_code == 200


async def test_a_failure_has_its_reason_and_can_be_retried(client, gallery, processing):
    image = await upload_image(gallery, photos.a_jpeg(400, 300)[:2000])
    await processing.process(image.id)
    await make_failed(gallery, "another, with nothing on its timeline")
    empty, failure = (await client.get("/admin/queues/failed")).json()
    assert empty["timeline"] == []
    assert (failure["id"], failure["code"], failure["worker"]) == (image.id, "damaged_picture", "worker")
    assert [entry["stage"] for entry in failure["timeline"]] == ["uploaded", "processing", "failed"]

    again = await client.post(f"/admin/queues/failed/{image.id}/retry")
    assert (again.status_code, again.json()["status"], again.json()["work"]) == (202, "PENDING", "due")
    assert titles(await client.get("/admin/queues/failed")) == [empty["title"]]
    refused = await client.post(f"/admin/queues/failed/{image.id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_failed")


async def test_a_dropped_failure_leaves_the_list_and_keeps_its_image(client, gallery, processing):
    image = await upload_image(gallery, photos.a_jpeg(400, 300)[:2000])
    await processing.process(image.id)
    dropped = (await client.post(f"/admin/queues/failed/{image.id}/drop")).json()
    assert (dropped["status"], dropped["objects"]) == ("FAILED", 1)
    assert dropped["droppedAt"]
    assert dropped["timeline"][-1]["stage"] == "dropped"
    assert (await client.get("/admin/queues/failed")).json() == []
    assert (await queue_state(client))["failed"] == []
    assert (await client.get(f"/api/v1/images/{image.id}")).json()["status"] == "FAILED", (
        "for its owner it is as before"
    )
    twice = await client.post(f"/admin/queues/failed/{image.id}/drop")
    assert (twice.status_code, twice.json()["code"]) == (409, "not_failed")

    assert (await client.post(f"/admin/queues/failed/{image.id}/retry")).status_code == 202
    await processing.process(image.id)
    assert titles(await client.get("/admin/queues/failed")) == ["lake"], "it has failed anew"


async def test_all_of_one_reason_are_retried_and_all_others_dropped(client, gallery):
    await make_failed(gallery, "a", "b")
    await make_failed(gallery, "lost", "lost too", code="worker_lost")
    answer = await client.post("/admin/queues/failed/retry?code=worker_lost")
    assert answer.json() == {"count": 2, "more": False}
    assert titles(await client.get("/admin/queues/failed")) == ["b", "a"]
    assert (await queue_state(client))["lanes"][0]["due"] == 2
    assert (await client.post("/admin/queues/failed/drop?code=worker_lost")).json()["count"] == 0
    assert (await client.post("/admin/queues/failed/drop")).json() == {"count": 2, "more": False}
    assert (await client.get("/admin/queues/failed")).json() == []


# --- jobs that failed -----------------------------------------------------------------------------------------------


async def test_a_bug_shows_its_stack_and_is_retried_or_dropped(client, gallery, settings):
    await fail_jobs(gallery, settings, "a", "b", "c")
    found = (await client.get("/admin/queues/jobs")).json()
    assert [bug["subject"] for bug in found] == ["c", "b", "a"]
    assert found[0]["reason"] == "c by nothing"
    assert "in broken" in found[0]["stack"][0]
    assert (await queue_state(client))["bugs"] == 3
    assert [bug["subject"] for bug in (await client.get("/admin/queues/jobs?start=1&limit=1")).json()] == ["b"]

    assert (await client.post(f"/admin/queues/jobs/{found[0]['id']}/retry")).status_code == 204
    assert (await queue_state(client))["jobs"]["prioritized"] == 1
    assert (await client.post(f"/admin/queues/jobs/{found[0]['id']}/retry")).status_code == 404, "it waits already"
    assert (await client.post(f"/admin/queues/jobs/{found[0]['id']}/drop")).status_code == 404
    assert (await client.post(f"/admin/queues/jobs/{found[1]['id']}/drop")).status_code == 204
    assert (await client.post("/admin/queues/jobs/retry")).json() == {"count": 1, "more": False}
    assert ((await queue_state(client))["bugs"], (await queue_state(client))["jobs"]["prioritized"]) == (0, 2)


async def test_dropping_all_failed_jobs_keeps_waiting_ones(client, gallery, settings):
    await fail_jobs(gallery, settings, "a", "b")
    await upload_image(gallery)
    assert (await client.post("/admin/queues/jobs/drop")).json() == {"count": 2, "more": False}
    found = await queue_state(client)
    assert (found["bugs"], found["jobs"]["prioritized"]) == (0, 1)


# --- access ---------------------------------------------------------------------------------------------------------


async def test_another_sites_page_cannot_pause_the_queue_in_open_mode(client):
    answer = await client.post("/admin/queues/pause", headers=CROSS_ORIGIN)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert (await queue_state(client))["pausedSince"] is None


async def test_an_admins_cookie_works_only_from_gallerys_pages(settings):
    async with closed_application(settings) as (gallery, client):
        _, admin = await create_api_key(gallery, "ops", "admin")
        await client.post("/api/v1/session", headers={"X-Api-Key": admin})
        same_origin = {"Origin": str(client.base_url)}
        for path in ("pause", "failed/retry", "failed/drop", "jobs/drop"):
            assert (await client.post(f"/admin/queues/{path}", headers=CROSS_ORIGIN)).status_code == 403, path
            assert (await client.post(f"/admin/queues/{path}")).status_code == 403, path
            assert (await client.post(f"/admin/queues/{path}", headers=same_origin)).status_code == 200, path
        assert (await client.delete("/admin/cache", headers=CROSS_ORIGIN)).status_code == 403


async def test_an_admin_retries_another_owners_image(settings):
    async with closed_application(settings) as (gallery, client):
        _, maya = await create_api_key(gallery, "maya")
        _, admin = await create_api_key(gallery, "ops", "admin")
        file = {"file": ("lake.jpg", unique_photo())}
        image = (await client.post("/api/v1/images", files=file, headers={"X-Api-Key": maya})).json()["id"]
        await execute(
            gallery, "UPDATE image SET status = 'FAILED', work_state = NULL, error_code = 'x', error_message = 'x'"
        )
        again = await client.post(f"/admin/queues/failed/{image}/retry", headers={"X-Api-Key": admin})
        assert (again.status_code, again.json()["owner"]) == (202, "maya")
