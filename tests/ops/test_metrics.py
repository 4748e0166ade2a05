"""The metrics, as Prometheus reads them: the difference that an action of one application makes."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

import photos
from conftest import running_application
from factories import CALLER, listen, post, upload_image
from gallery.backup.store import mark_verified
from gallery.errors import DatabaseUnavailable
from gallery.images import readings, store
from gallery.images.model import Lane
from gallery.jobs.queue import Job
from gallery.ops import cpu
from gallery.ops.readings import Reading, Readings
from image_rows import insert_images
from scraping import scrape

INSERT_IMAGES = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated,
                       status, work_state, deleted_at)
    SELECT gen_random_uuid(), 'everybody', 'x', 'x.jpg', 'image/jpeg', 1, i::text, false,
           CASE WHEN i % 10 = 0 THEN 'FAILED' ELSE 'READY' END, NULL, CASE WHEN i % 3 = 0 THEN now() END
    FROM generate_series(1, 5000) i
"""

DURATION_SUM = "http_request_duration_seconds_sum"


@pytest.fixture
async def before(client):
    return await scrape(client)


@pytest.fixture(autouse=True)
def no_readings_cache(monkeypatch):
    """Each scrape of a test computes its readings anew."""
    monkeypatch.setattr("gallery.ops.readings.MIN_CACHE_SECONDS", 0.0)
    monkeypatch.setattr("gallery.ops.readings.CACHE_COST_FACTOR", 0.0)


async def test_the_processor_time_of_a_process(before, client):
    """Under the names of Node's client, beside the one of Python's."""
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    after = (await scrape(client)).cpu
    assert after["user"] + after["system"] >= before.cpu["user"] + before.cpu["system"] + 0.15
    assert after["user"] + after["system"] == pytest.approx(after[""], abs=0.1)
    openmetrics = await scrape(client, {"Accept": "application/openmetrics-text"})
    assert openmetrics.cpu["user"] >= after["user"]


async def test_concurrent_scrapes(client):
    """Each answer is written in its own thread."""
    with ThreadPoolExecutor(8) as threads:
        counts = [threads.submit(cpu.update) for _ in range(20_000)]
    assert not [count for count in counts if count.exception()]
    answers = await asyncio.gather(*(client.get("/metrics") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}


async def test_an_image_from_its_upload_to_ready(before, client, processing):
    content = photos.a_jpeg(comment=b"measured")
    image = (await post(client, content)).json()["id"]
    assert (await scrape(client)).value("images", status="PENDING") == 1
    await post(client, content)
    await processing.process(image)
    after = await scrape(client)

    def added(name, **labels):
        return after.value(name, **labels) - before.value(name, **labels)

    assert added("images_uploaded_total") == added("images_uploaded_again_total") == 1
    assert added("upload_size_bytes_sum") == len(content)
    assert added("http_request_duration_seconds_count", method="POST", route="/api/v1/images", status="2xx") == 2
    assert added("attempts_total", outcome="ready") == 1
    assert {step: added("attempt_step_seconds_count", step=step) for step in ("fetch", "render", "put", "settle")} == {
        "fetch": 1, "render": 1, "put": 1, "settle": 1,
    }  # fmt: skip
    assert added("attempt_step_seconds_sum", step="render") > 0
    assert added("image_ready_seconds_count") == 1
    assert after.value("images", status="READY") == 1
    assert after.value("images", status="PENDING") == 0


async def test_cache_lookups_are_counted_by_result(before, client):
    for _ in range(3):
        await client.get("/api/v1/images")
    after = await scrape(client)
    added = {
        result: after.value("cache_lookups_total", kind="list", result=result)
        - before.value("cache_lookups_total", kind="list", result=result)
        for result in ("miss", "hit", "memory")
    }
    assert added["miss"] == 1
    assert added["hit"] + added["memory"] == 2


async def test_routes_are_templates_and_no_input_of_a_client_becomes_a_label(client):
    await client.get("/api/v1/images/0190a0a0-0000-7000-8000-000000000000")
    await client.get("/api/v1/images/lake-of-secrets")
    await client.get("/lake-of-secrets")
    await client.request("BREW", "/api/v1/images")
    await client.head("/static/base.css")
    after = await scrape(client)
    assert after.has_sample("http_request_duration_seconds_count", method="GET", route="/api/v1/images/{image_id}")
    assert after.has_sample("http_request_duration_seconds_count", method="HEAD", route="/static/{name}", status="2xx")
    assert after.has_sample("http_request_duration_seconds_count", method="GET", route="none", status="4xx")
    assert "lake-of-secrets" not in after.text
    assert "BREW" not in after.text


async def test_streams_are_counted_while_they_are_open(before, client):
    began = time.monotonic()
    async with listen(client) as listener:
        head = time.monotonic() - began
        during = await scrape(client)
        await post(client)
        await listener.next("image.uploaded")
    async with asyncio.timeout(5):
        while (after := await scrape(client)).value("sse_clients") != before.value("sse_clients"):
            await asyncio.sleep(0.02)
    assert during.value("sse_clients") == before.value("sse_clients") + 1
    assert after.value("event_delay_seconds_count") > before.value("event_delay_seconds_count")
    assert after.value("events_read") == after.value("events_numbered") == 1
    stream = {"route": "/api/v1/notifications/stream"}
    assert after.value(DURATION_SUM, **stream) - before.value(DURATION_SUM, **stream) < head + 0.1, (
        "a stream counts until its headers"
    )


async def test_waiting_images_by_lane_from_the_rows_and_from_the_queue(gallery, client):
    await insert_images(gallery, "a", "b", lane="bulk")
    old = await insert_images(gallery, "c")
    async with gallery.database.writing() as db:
        await db.execute("UPDATE image SET next_attempt_at = now() - interval '90 s' WHERE id = $1", old[0])
    await upload_image(gallery)
    await gallery.queue.enqueue(Job("x", "later", delay=timedelta(hours=1)))
    now = await scrape(client)
    assert {lane: now.value("backlog_images", lane=lane) for lane in Lane} == {
        "interactive": 2, "bulk": 2, "maintenance": 0,
    }  # fmt: skip
    assert 90 <= now.value("backlog_oldest_seconds", lane="interactive") < 120
    assert now.value("backlog_oldest_seconds", lane="bulk") < 30
    assert now.value("queue_jobs", lane="interactive", state="prioritized") == 1
    assert now.value("queue_jobs", state="delayed") == 1
    assert now.value("queue_length") == 2


async def test_workers_by_state_and_a_pause(gallery, client):
    async with gallery.database.writing() as db:
        for name, seconds, ended in (("a", 1, False), ("b", 30, False), ("c", 30, False), ("d", 30, True)):
            await db.execute(
                "INSERT INTO worker (name, version, concurrency, seen_at, ended_at) "
                "VALUES ($1, '1', 2, now() - $2 * interval '1 s', CASE WHEN $3 THEN now() END)",
                *(name, seconds, ended),
            )
    now = await scrape(client)
    assert {state: now.value("workers", state=state) for state in now.labels("workers", "state")} == {
        "alive": 1,
        "lost": 2,
    }
    assert now.value("queue_paused") == 0
    await gallery.console.pause()
    assert (await scrape(client)).value("queue_paused") == 1


@pytest.mark.parametrize(("max_counted", "ready"), [(100_000, 3000), (1000, pytest.approx(3000, rel=0.1))])
async def test_few_images_are_counted_and_many_are_estimated(gallery, client, monkeypatch, max_counted, ready):
    """A third of the images is deleted, a tenth of all has failed."""
    async with gallery.database.writing() as db:
        await db.execute(INSERT_IMAGES)
        await db.execute("ANALYZE image")
    await insert_images(gallery, "waiting")
    monkeypatch.setattr(readings, "MAX_COUNTED", max_counted)
    if max_counted < 5000:
        monkeypatch.setattr(readings, "SETTLED", "SELECT 'must', 'not', 'run'")
    now = await scrape(client)
    assert now.value("images", status="READY") == ready
    assert now.value("images", status="FAILED") == pytest.approx(334, rel=0 if max_counted > 5000 else 0.15)
    assert now.value("images", status="PENDING") == 1


async def test_the_oldest_of_a_lane_is_read_by_an_index(gallery):
    async with gallery.database.primary() as db:
        await db.execute("SET enable_seqscan = off")
        for statement, arguments in ((readings.OLDEST_DUE, ["bulk"]), (readings.IN_FLIGHT, [])):
            plan = await db.fetch(f"EXPLAIN {statement}", *arguments)
            assert "Seq Scan" not in str(plan), plan


async def test_attempts_are_counted_by_outcome(before, gallery, client, processing, monkeypatch):
    """Each attempt ends in one way, and is counted once."""
    whole = photos.a_jpeg()
    damaged = await upload_image(gallery, whole[: len(whole) // 2])
    await processing.process(damaged.id)

    lost = await upload_image(gallery)
    async with gallery.database.writing() as db:
        await store.claim(db, lost.id, timedelta(), "a worker that died")
    await processing.process(lost.id)

    gone = await upload_image(gallery)
    await gallery.objects.delete([gone.original_key])
    await processing.process(gone.id)

    async def raise_bug(*_):
        raise IndexError

    monkeypatch.setattr(processing._resources.pool, "run", raise_bug)
    struck = await upload_image(gallery)
    await processing.process(struck.id)

    began = asyncio.Event()

    async def slow(*_):
        began.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(processing._resources.pool, "run", slow)
    stopped = await upload_image(gallery)
    working = asyncio.create_task(processing.process(stopped.id))
    await began.wait()
    working.cancel()
    await asyncio.wait([working])

    after = await scrape(client)
    outcomes = ("failed", "lost", "ready", "deferred", "strike", "handed-back", "withdrawn")
    increases = {
        o: after.value("attempts_total", outcome=o) - before.value("attempts_total", outcome=o) for o in outcomes
    }
    assert increases == dict.fromkeys(outcomes, 1.0) | {"withdrawn": 0}
    code = {"code": "damaged_picture"}
    assert after.value("images_failed_total", **code) == before.value("images_failed_total", **code) + 1


async def test_sweeps_and_their_results_are_counted(before, gallery, client):
    image = await upload_image(gallery)
    await gallery.images.delete(CALLER, image.id)
    await gallery.sweep.run()
    after = await scrape(client)
    assert after.value("sweeps_total") == before.value("sweeps_total") + 1
    assert after.value("swept_total", what="removed") == before.value("swept_total", what="removed") + 1


async def test_refusals_by_a_rate_limit_are_counted(environment):
    async with running_application(environment, GALLERY_RATE__ENABLED="true", GALLERY_RATE__UPLOADS="1 per 60") as (
        _,
        client,
    ):
        before = await scrape(client)
        for _ in range(3):
            await post(client)
        after = await scrape(client)
    assert after.value("rate_limited_total", limit="uploads") - before.value("rate_limited_total", limit="uploads") == 2
    assert after.has_sample("http_request_duration_seconds_count", method="POST", route="/api/v1/images", status="4xx")


async def test_the_age_of_the_newest_verified_backup(gallery, client):
    assert not (await scrape(client)).has_sample("backup_verified_age_seconds")
    hour = timedelta(hours=1)
    for age in (3 * hour, hour, 2 * hour):
        await mark_verified(gallery.database, str(uuid4()), "somewhere", datetime.now(UTC) - age)
    async with asyncio.timeout(20):
        while not (now := await scrape(client)).has_sample("backup_verified_age_seconds"):
            await asyncio.sleep(0.5)  # the reading is cached for some seconds
    assert 3600 <= now.value("backup_verified_age_seconds") < 2 * 3600


async def test_an_unavailable_server_is_reported_and_the_other_readings_stay(environment):
    async with running_application(environment, REDIS_URL="redis://127.0.0.1:1/0") as (gallery, client):
        await insert_images(gallery, "a")
        now = await scrape(client)
    assert {name: now.value("source_up", source=name) for name in ("images", "queue", "events", "backups")} == {
        "images": 1, "queue": 0, "events": 1, "backups": 1,
    }  # fmt: skip
    assert now.value("away_total", server="valkey") >= 1
    assert now.value("images", status="PENDING") == 1
    assert not now.has_sample("queue_length")


async def test_connections_in_use(before, gallery, client):
    async with gallery.database.primary(), gallery.database.writing():
        during = await scrape(client)
    in_use = "database_connections_in_use"
    assert during.value(in_use) == before.value(in_use) + 2
    assert (await scrape(client)).value(in_use) == before.value(in_use)
    assert during.value("database_connections_max") >= gallery.settings.database.pool_size


async def test_prometheus_text_and_openmetrics(client):
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    plain = await client.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("version", ["abc", "2", "1.x", "9" * 5000, "1.0.0é", "", "1.0.0\u00a0", "-1", "1..0"])
async def test_an_unknown_format_version_is_not_an_error(client, version):
    for kind in ("application/openmetrics-text", "text/plain"):
        answer = await client.get("/metrics", headers={"Accept": f"{kind};version={version}".encode("latin-1")})
        assert answer.status_code == 200, (kind, answer.text)
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4"), version


async def test_a_source_is_read_once_for_concurrent_callers(monkeypatch):
    monkeypatch.undo()
    calls = []

    async def cheap():
        calls.append("cheap")
        return [Reading("x", "X", {(): 1})]

    async def unavailable():
        calls.append("unavailable")
        raise DatabaseUnavailable

    readings = Readings({"cheap": cheap, "unavailable": unavailable})
    collected = await asyncio.gather(*(readings.collect() for _ in range(5)))
    assert sorted(calls) == ["cheap", "unavailable"], "once for all concurrent callers"
    assert collected[0][-1].values == {("cheap",): 1, ("unavailable",): 0}
