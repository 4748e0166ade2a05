"""A real cluster: three masters with a replica each. The last test kills a master."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from doctor.findings import verdict
from factories import CALLER, listen, post, upload_image, wait_until_settled
from gallery.adapters.valkey.client import open_valkey
from gallery.adapters.valkey.rates import RateCounters, RateLimit
from gallery.images.list_query import ListQuery
from gallery.images.model import Edit
from gallery.jobs.queue import QUEUE_NAME, Job, key_prefixes
from gallery.jobs.worker import consume_jobs
from gallery.settings import Settings
from gallery.wiring import open_gallery
from gallery_processes import api, worker
from valkey_cluster import Cluster, running_cluster


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[Cluster]:
    async with running_cluster() as made:
        yield made


@pytest.fixture
async def environment(environment: dict[str, str], cluster: Cluster) -> dict[str, str]:
    """Two of its nodes are named, the others are discovered. All tests share its database, so queues are emptied."""
    for node in cluster.alive_nodes:
        if "master" in await node.execute("ROLE"):
            await node.execute("FLUSHALL")
    return {**environment, "REDIS_URL": cluster.url, "GALLERY_REDIS__QUEUES": "5", "GALLERY_REDIS__TIMEOUT": "5"}


async def test_answers_are_cached_and_invalidated(gallery):
    image = await upload_image(gallery, title="Lake")
    for title in ("Dawn", "Dusk"):
        await gallery.cached_reads.image(CALLER, image.id)
        await gallery.cached_reads.page(CALLER, ListQuery())
        assert await gallery.cached_reads._cache.find_image(image.id)
        await gallery.images.edit(CALLER, image.id, Edit(title=title))
        assert title in (await gallery.cached_reads.image(CALLER, image.id)).body.decode()
        assert title in (await gallery.cached_reads.page(CALLER, ListQuery())).body.decode()


async def test_all_processes_share_each_counter(gallery, settings):
    async with open_valkey(settings.redis) as another:
        rates = [RateCounters(gallery.valkey), RateCounters(another)]
        calls = [(rates[n % 2], f"client {n % 6}") for n in range(60)]
        verdicts = await asyncio.gather(*(counters.take("x", client, RateLimit(4, 3600)) for counters, client in calls))
    assert sum(verdict.allowed for verdict in verdicts) == 6 * 4


async def test_jobs_are_spread_and_duplicates_meet(gallery, settings, environment, cluster):
    received = []

    async def listen(subject):
        received.append(subject)

    jobs = [Job("listen", f"image {n % 60}", priority=n % 60 % 7 + 1) for n in range(120)]
    await gallery.queue.enqueue_all(jobs)
    assert sum((await gallery.queue.counts()).values()) == 60
    assert "60 jobs wait" in (await verdict(environment, "queue"))[1]
    low, high = await gallery.queue.count_prioritized([(1, 3), (4, 7)])
    assert low > 0 < high
    assert low + high == 60
    homes = {(await cluster.master_of(f"{prefix}:{QUEUE_NAME}:id")).port for prefix in key_prefixes(settings.redis)}
    assert len(homes) == 3
    async with consume_jobs(settings.redis, {"listen": listen}, 4, "worker"), asyncio.timeout(20):
        while len(received) < 60:
            await asyncio.sleep(0.01)
    assert sorted(received) == sorted({job.subject for job in jobs})
    assert not await gallery.queue.is_intact()
    await gallery.queue.mark_intact()
    assert await gallery.queue.is_intact()


async def test_failed_jobs_of_all_queues_are_listed_retried_and_dropped(gallery, settings):
    async def fail(subject):
        raise ZeroDivisionError(subject)

    await gallery.queue.enqueue_all([Job("fail", f"image {n}") for n in range(10)])
    async with consume_jobs(settings.redis, {"fail": fail}, 4, "worker"), asyncio.timeout(20):
        while len(bugs := await gallery.queue.failed_jobs(0, 50)) < 10:
            await asyncio.sleep(0.02)
    assert len({bug.id for bug in bugs}) == 10, "though each queue counts from one"
    await gallery.queue.drop(bugs[0].id)
    await gallery.queue.retry(bugs[1].id)
    assert {bug.id for bug in await gallery.queue.failed_jobs(0, 50)} == {bug.id for bug in bugs[2:]}
    assert await gallery.queue.drop_all() == 8


async def test_a_message_goes_only_through_its_shard(gallery, settings, cluster):
    home = await cluster.master_of(f"{gallery.valkey.prefix}:events")
    async with open_valkey(settings.redis) as another, another.subscription("events") as receive:
        async with asyncio.timeout(10):
            while (await home.execute("PUBSUB", "SHARDNUMSUB", f"{gallery.valkey.prefix}:events"))[1] != 1:
                await asyncio.sleep(0.02)
        await gallery.valkey.publish("events", b"wake")
        async with asyncio.timeout(10):
            while (message := await receive(10)) is None:  # the subscription is confirmed first
                pass
        assert message == b"wake"


async def test_a_server_that_evicts_keys_is_warned_about(gallery, settings, environment, cluster):
    assert await gallery.valkey.find_evicting() == {}
    assert (await verdict(environment, "eviction"))[0] == "well"
    first = await cluster.master_of("anything")
    await first.execute("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    with capture_logs() as lines:
        async with open_gallery(settings):
            pass
    assert (await verdict(environment, "eviction"))[0] == "wrong"
    await first.execute("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
    assert [(line["event"], line["policy"]) for line in lines] == [("valkey.may_evict", "allkeys-lru")]


async def test_a_master_dies_and_nothing_is_lost(environment, cluster, tmp_path):
    """The master with the queue, by SIGKILL: images from before, during and after become READY, with their events."""
    more = {**environment, "GALLERY_WORKER__SWEEP_EVERY": "1", "GALLERY_REDIS__QUEUES": "1"}
    async with (
        api(more, tmp_path) as server,
        worker(more, tmp_path),
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
        listen(client) as listener,
    ):
        before = (await post(client)).json()["id"]
        await listener.next("image.ready")

        queue = f"{key_prefixes(Settings.read(more).redis)[0]}:{QUEUE_NAME}:id"
        home = await cluster.master_of(queue)
        await home.kill()
        meanwhile = (await post(client)).json()["id"]
        assert (await client.get(f"/api/v1/images/{before}")).status_code == 200
        await listener.next("image.ready")

        await cluster.wait_for_failover(queue, home)
        after = (await post(client)).json()["id"]
        await listener.next("image.ready")
        for image in (before, meanwhile, after):
            assert (await wait_until_settled(client, image))["status"] == "READY"
        ready = [event["imageId"] for event in listener.data() if event["status"] == "READY"]
        assert ready == [before, meanwhile, after]
