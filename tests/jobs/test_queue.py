"""The queue: rings that are heard, not doubled, and never swallow a later one."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
import redis.asyncio as redis

from faults.proxy import Proxy
from gallery.adapters.valkey.client import open_valkey
from gallery.errors import ValkeyUnavailable
from gallery.jobs import worker
from gallery.jobs.queue import Job, open_queue
from gallery.jobs.worker import consume_jobs


async def work_until(settings, until, seconds=15, **handlers):
    """Let a worker answer until there is enough."""
    async with consume_jobs(settings.redis, handlers, 4, "worker"), asyncio.timeout(seconds):
        while not until():
            await asyncio.sleep(0.01)


async def test_a_ring_is_answered(gallery, settings):
    heard = []

    async def listen(subject):
        heard.append(subject)

    await gallery.queue.enqueue(Job("listen", "a"))
    await work_until(settings, lambda: heard, listen=listen)
    assert heard == ["a"]


async def test_doubles_are_one_and_a_later_turn_is_another(gallery):
    await gallery.queue.enqueue_all([Job("x", "a"), Job("x", "a"), Job("x", "a", dedup_key=1), Job("x", "b")])
    assert sum((await gallery.queue.counts()).values()) == 3


async def test_a_worker_that_starts_while_valkey_is_away_hears_later(gallery, settings):
    heard = asyncio.Event()

    async def listen(_subject):
        heard.set()

    async with Proxy(str(settings.redis.url)) as cable:
        cable.refusing = True
        away = msgspec.structs.replace(settings.redis, url=cable.url)
        async with consume_jobs(away, {"listen": listen}, 1, "worker"):
            async with asyncio.timeout(10):
                while not cable.refused_count:
                    await asyncio.sleep(0.01)
            cable.refusing = False
            await gallery.queue.enqueue(Job("listen", "a"))
            async with asyncio.timeout(10):
                await heard.wait()


async def test_a_delayed_ring_comes_later(gallery, settings):
    heard = []
    loop = asyncio.get_running_loop()

    async def listen(subject):
        heard.append((subject, loop.time()))

    began = loop.time()
    await gallery.queue.enqueue(Job("listen", "late", delay=timedelta(seconds=1)))
    await gallery.queue.enqueue(Job("listen", "soon"))
    await work_until(settings, lambda: len(heard) == 2, listen=listen)
    assert [subject for subject, _ in heard] == ["soon", "late"]
    assert heard[1][1] - began >= 1


async def test_a_low_priority_waits(gallery, settings):
    heard = []

    async def listen(subject):
        heard.append(subject)

    await gallery.queue.enqueue_all([Job("listen", str(n), priority=1000) for n in range(20)])
    await gallery.queue.enqueue(Job("listen", "first", priority=1))
    async with consume_jobs(settings.redis, {"listen": listen}, 1, "worker"), asyncio.timeout(10):
        while len(heard) < 21:
            await asyncio.sleep(0.01)
    assert heard[0] == "first"


async def test_a_bug_is_kept_to_be_looked_at(gallery, settings):
    tried = []

    async def broken(subject):
        tried.append(subject)
        raise RuntimeError("no answer from https://maya:pa55w0rd@host")

    await gallery.queue.enqueue(Job("broken", "a"))
    await work_until(settings, lambda: tried, broken=broken)
    async with redis.from_url(settings.redis.url) as valkey:
        assert await valkey.zcard("bull:image-processing:failed") == 1
    [bug] = await gallery.queue.failed_jobs(0, 10)
    assert "no answer from https://********@host" in bug.reason
    assert "pa55w0rd" not in str(bug), "nor in its stack"


async def test_the_end_of_a_worker_cancels_what_is_under_way(gallery, settings):
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def slow(_subject):
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await gallery.queue.enqueue(Job("slow", "a"))
    async with asyncio.timeout(5):
        async with consume_jobs(settings.redis, {"slow": slow}, 1, "worker"):
            await began.wait()
        assert cancelled.is_set()
    assert sum((await gallery.queue.counts()).values()) == 0, (
        "and the job is done with: its row says what is left to do"
    )


async def test_a_handler_that_loses_its_cancellation_does_not_keep_a_worker(gallery, settings, monkeypatch):
    monkeypatch.setattr(worker, "SHUTDOWN_TIMEOUT_SECONDS", 0.2)
    began, ended = asyncio.Event(), asyncio.Event()

    async def deaf(_subject):
        began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def work():
        async with consume_jobs(settings.redis, {"deaf": deaf}, 2, "worker"):
            await began.wait()
        assert ended.is_set()

    await gallery.queue.enqueue(Job("deaf", "a"))
    working = asyncio.create_task(work())
    await asyncio.wait({working}, timeout=10)
    assert working.done()
    await working


async def test_a_worker_ends_while_valkey_is_away(settings, monkeypatch):
    monkeypatch.setattr(worker, "SHUTDOWN_TIMEOUT_SECONDS", 0.2)
    async with Proxy(str(settings.redis.url)) as cable:
        away = msgspec.structs.replace(settings.redis, url=cable.url)
        async with asyncio.timeout(20):
            async with consume_jobs(away, {}, 2, "worker"):
                await asyncio.sleep(1)  # it waits for a job
                cable.refusing = True
                cable.reset_connections()
                while not cable.refused_count:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(worker.RETRY_DELAY_MS / 2000)  # it is about to ask again
        tried = cable.refused_count
        await asyncio.sleep(0.5)
        assert cable.refused_count == tried, "nothing of it goes on"


async def test_it_remembers_until_valkey_forgets(gallery, settings):
    assert not await gallery.queue.is_intact()
    await gallery.queue.mark_intact()
    assert await gallery.queue.is_intact()
    async with redis.from_url(settings.redis.url) as valkey:
        await valkey.flushdb()
    assert not await gallery.queue.is_intact()


async def test_a_valkey_that_is_away_is_said_quickly(settings):
    nowhere = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_valkey(nowhere) as valkey, open_queue(nowhere, valkey) as queue, asyncio.timeout(3):
        with pytest.raises(ValkeyUnavailable):
            await queue.enqueue(Job("x", "a"))
