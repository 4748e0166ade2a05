"""The queue: jobs are handled, and duplicates are dropped, but no later job."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
import redis.asyncio as redis
from bullmq import Job as BullJob
from structlog.testing import capture_logs

from faults.proxy import Proxy
from gallery.adapters.valkey.client import open_valkey
from gallery.errors import ValkeyUnavailable
from gallery.jobs import progress, worker
from gallery.jobs.queue import Job, open_queue
from gallery.jobs.worker import consume_jobs


async def work_until(settings, until, seconds=15, **handlers):
    """Run a worker until `until` is true."""
    async with consume_jobs(settings.redis, handlers, 4, "worker"), asyncio.timeout(seconds):
        while not until():
            await asyncio.sleep(0.01)


async def test_a_job_is_handled(gallery, settings):
    handled = []

    async def handle(subject):
        handled.append(subject)

    await gallery.queue.enqueue(Job("handle", "a"))
    await work_until(settings, lambda: handled, handle=handle)
    assert handled == ["a"]


async def test_duplicates_are_one_job_and_another_key_is_another(gallery):
    await gallery.queue.enqueue_all([Job("x", "a"), Job("x", "a"), Job("x", "a", dedup_key=1), Job("x", "b")])
    assert sum((await gallery.queue.counts()).values()) == 3


async def test_a_worker_that_starts_without_valkey_gets_jobs_later(gallery, settings):
    handled = asyncio.Event()

    async def handle(_subject):
        handled.set()

    async with Proxy(str(settings.redis.url)) as proxy:
        proxy.refusing = True
        away = msgspec.structs.replace(settings.redis, url=proxy.url)
        async with consume_jobs(away, {"handle": handle}, 1, "worker"):
            async with asyncio.timeout(10):
                while not proxy.refused_count:
                    await asyncio.sleep(0.01)
            proxy.refusing = False
            await gallery.queue.enqueue(Job("handle", "a"))
            async with asyncio.timeout(10):
                await handled.wait()


async def test_a_delayed_job_is_handled_later(gallery, settings):
    handled = []
    loop = asyncio.get_running_loop()

    async def handle(subject):
        handled.append((subject, loop.time()))

    began = loop.time()
    await gallery.queue.enqueue(Job("handle", "late", delay=timedelta(seconds=1)))
    await gallery.queue.enqueue(Job("handle", "soon"))
    await work_until(settings, lambda: len(handled) == 2, handle=handle)
    assert [subject for subject, _ in handled] == ["soon", "late"]
    assert handled[1][1] - began >= 1


async def test_a_low_priority_waits(gallery, settings):
    handled = []

    async def handle(subject):
        handled.append(subject)

    await gallery.queue.enqueue_all([Job("handle", str(n), priority=1000) for n in range(20)])
    await gallery.queue.enqueue(Job("handle", "first", priority=1))
    async with consume_jobs(settings.redis, {"handle": handle}, 1, "worker"), asyncio.timeout(10):
        while len(handled) < 21:
            await asyncio.sleep(0.01)
    assert handled[0] == "first"


async def test_a_job_does_not_wait_for_its_progress_and_goes_on_after_valkey_has_lost_it(gallery, settings):
    stages, handled = [], asyncio.Event()

    async def active_stage():
        return next((job.progress.stage for job in await gallery.queue.active(1) if job.progress), None)

    async def handle(_subject):
        progress.report("skipped", 1)
        progress.report("begun", 2)  # overtakes the one before, which nothing has sent yet
        while (stage := await active_stage()) is None:
            await asyncio.sleep(0.01)
        stages.append(stage)
        async with redis.from_url(settings.redis.url) as valkey:
            await valkey.flushdb()
        progress.report("lost", 3)
        await asyncio.sleep(0.3)
        handled.set()

    await gallery.queue.enqueue(Job("handle", "a"))
    with capture_logs() as logs:
        await work_until(settings, handled.is_set, handle=handle)
    assert stages == ["begun"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == []


async def test_a_job_goes_on_while_its_progress_cannot_be_sent(gallery, settings, monkeypatch):
    handled, loop = [], asyncio.get_running_loop()

    async def hang(*_):
        await asyncio.sleep(60)

    async def handle(_subject):
        began = loop.time()
        for percent in range(3):
            progress.report("working", percent)
            await asyncio.sleep(0)
        handled.append(loop.time() - began)

    monkeypatch.setattr(BullJob, "updateProgress", hang)
    await gallery.queue.enqueue(Job("handle", "a"))
    await work_until(settings, lambda: handled, handle=handle)
    assert handled[0] < worker.REPORT_TIMEOUT_SECONDS / 2


async def test_a_failed_job_is_kept_with_its_reason(gallery, settings):
    tried = []

    async def broken(subject):
        tried.append(subject)
        raise RuntimeError("no answer from https://maya:pa55w0rd@host")

    await gallery.queue.enqueue(Job("broken", "a"))
    await work_until(settings, lambda: tried, broken=broken)
    async with redis.from_url(settings.redis.url) as valkey:
        assert await valkey.zcard("bull:image-processing:failed") == 1
    [failed] = await gallery.queue.failed_jobs(0, 10)
    assert "no answer from https://********@host" in failed.reason
    assert "pa55w0rd" not in str(failed), "nor in its stack"


async def test_the_end_of_a_worker_cancels_active_jobs(gallery, settings):
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
    assert sum((await gallery.queue.counts()).values()) == 0, "the job is removed: its row holds the remaining work"


async def test_a_handler_that_swallows_a_cancellation_does_not_keep_its_worker_from_ending(
    gallery, settings, monkeypatch
):
    monkeypatch.setattr(worker, "SHUTDOWN_TIMEOUT_SECONDS", 0.2)
    began, ended = asyncio.Event(), asyncio.Event()

    async def stubborn(_subject):
        began.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def work():
        async with consume_jobs(settings.redis, {"stubborn": stubborn}, 2, "worker"):
            await began.wait()
        assert ended.is_set()

    await gallery.queue.enqueue(Job("stubborn", "a"))
    working = asyncio.create_task(work())
    await asyncio.wait({working}, timeout=10)
    assert working.done()
    await working


async def test_a_worker_ends_while_valkey_is_unavailable(settings, monkeypatch):
    monkeypatch.setattr(worker, "SHUTDOWN_TIMEOUT_SECONDS", 0.2)
    async with Proxy(str(settings.redis.url)) as proxy:
        away = msgspec.structs.replace(settings.redis, url=proxy.url)
        async with asyncio.timeout(20):
            async with consume_jobs(away, {}, 2, "worker"):
                await asyncio.sleep(1)  # it waits for a job
                proxy.refusing = True
                proxy.reset_connections()
                while not proxy.refused_count:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(worker.RETRY_DELAY_MS / 2000)  # it is about to retry
        tried = proxy.refused_count
        await asyncio.sleep(0.5)
        assert proxy.refused_count == tried, "no part of the worker goes on"


async def test_the_queue_is_intact_until_valkey_loses_its_data(gallery, settings):
    assert not await gallery.queue.is_intact()
    await gallery.queue.mark_intact()
    assert await gallery.queue.is_intact()
    async with redis.from_url(settings.redis.url) as valkey:
        await valkey.flushdb()
    assert not await gallery.queue.is_intact()


async def test_an_unavailable_valkey_is_reported_quickly(settings):
    unavailable = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_valkey(unavailable) as valkey, open_queue(unavailable, valkey) as queue, asyncio.timeout(3):
        with pytest.raises(ValkeyUnavailable):
            await queue.enqueue(Job("x", "a"))
