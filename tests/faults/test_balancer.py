"""Three API instances and two workers behind the load balancer of deploy/haproxy, stopped and killed under load."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from faults.balancer import HAPROXY, Balancer, balancer
from faults.checker import check
from faults.load import Load, ReceivedEvents, listen
from faults.read_load import ReadLoad
from gallery_processes import RunningProcess, free_port, run_gallery, wait_until_ready, worker

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")  # this machine too; one port for all, as behind one name
LISTENERS = 5


@dataclass
class Cluster:
    """By host the API that runs there, and the workers."""

    environment: dict[str, str]
    logs: Path
    stack: AsyncExitStack
    balancer: Balancer
    apis: dict[str, RunningProcess] = field(default_factory=dict)
    workers: list[RunningProcess] = field(default_factory=list)

    async def start_api(self, host: str) -> None:
        given = {**self.environment, "GALLERY_HOST": host}
        self.apis[host] = await self.stack.enter_async_context(run_gallery(given, self.logs, "serve"))
        await wait_until_ready(f"http://{host}:{given['PORT']}", self.apis[host])

    async def start_worker(self) -> None:
        self.workers.append(await self.stack.enter_async_context(worker(self.environment, self.logs)))


@pytest.fixture
async def cluster(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Cluster]:
    if HAPROXY is None:
        pytest.skip("There is no load balancer here: please install haproxy.")
    more = {
        **environment,
        "GALLERY_WORKER__LEASE": "4",
        "GALLERY_WORKER__SWEEP_EVERY": "1",
        "GALLERY_WORKER__CONCURRENCY": "1",
        "GALLERY_RATE__ENABLED": "false",
        "GALLERY_UPLOAD__KEY_LEASE": "15",  # long enough for an upload while others keep the machine busy
        "GALLERY_DATABASE__TIMEOUT": "60",
        "GALLERY_PROXIES": "127.0.0.1",
        "GALLERY_SERVE__DRAIN": "30",
        "PORT": str(free_port()),
    }
    async with (
        balancer(HOSTS, int(more["PORT"]), tmp_path) as front,
        AsyncExitStack() as stack,
    ):
        here = Cluster(more, tmp_path / "logs", stack, front)
        await asyncio.gather(*(here.start_api(host) for host in HOSTS), here.start_worker(), here.start_worker())
        await front.wait_for_servers(len(HOSTS))
        yield here
        living = [one for one in (*here.apis.values(), *here.workers) if one.process.returncode is None]
        for one in living:  # asked twice, a draining API ends at once
            one.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        await asyncio.gather(*(one.stop() for one in living))


@asynccontextmanager
async def with_clients(url: str) -> AsyncIterator[tuple[ReadLoad, list[ReceivedEvents]]]:
    """While the block runs, some read and some listen."""
    reads, listeners = ReadLoad(url), [ReceivedEvents() for _ in range(LISTENERS)]
    tasks = [asyncio.create_task(reads.run()), *(asyncio.create_task(listen(url, heard)) for heard in listeners)]
    try:
        async with asyncio.timeout(20):
            while not all(heard.connections for heard in listeners):  # who comes late was not told of the first
                await asyncio.sleep(0.02)
        yield reads, listeners
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def kill_one_of_each(cluster: Cluster, load: Load) -> None:
    """The API with requests in its hands: it is frozen first, until some have come. Others start in their places."""
    host, api = HOSTS[0], cluster.apis[HOSTS[0]]
    os.kill(api.pid, signal.SIGSTOP)
    load.start(24)
    await asyncio.sleep(1)
    await asyncio.gather(cluster.workers.pop(0).stop(signal.SIGKILL), api.stop(signal.SIGKILL))
    await asyncio.gather(cluster.start_worker(), cluster.start_api(host))
    await cluster.balancer.wait_for_servers(len(HOSTS))


async def restart_apis(cluster: Cluster) -> None:
    """As an upgrade does: the next is stopped when the successor of the one before is there.

    Asked again, a draining API ends at once: so that nobody here waits longer than the balancer takes to notice.
    """
    for host in HOSTS:
        os.kill(cluster.apis[host].pid, signal.SIGTERM)
        await cluster.balancer.wait_for_servers(len(HOSTS) - 1)
        assert await cluster.apis[host].stop(signal.SIGTERM) == 0
        await cluster.start_api(host)
        await cluster.balancer.wait_for_servers(len(HOSTS))


async def restart_workers(cluster: Cluster) -> None:
    for _ in range(2):
        assert await cluster.workers.pop(0).stop(signal.SIGTERM) == 0
        await cluster.start_worker()


async def test_a_kill_fails_no_read_and_a_rolling_restart_no_request(cluster):
    url = cluster.balancer.url
    async with with_clients(url) as (reads, listeners):
        struck = Load(url, rate=4)  # more would only queue up where machines are slow
        striking = asyncio.create_task(struck.run(3))
        await asyncio.sleep(1)
        await kill_one_of_each(cluster, struck)
        assert reads.failures == []
        assert struck.retries, "uploads were cut off, and sent again with their keys"
        elsewhere = await cluster.balancer.read_metric("redispatch_warnings_total")
        assert elsewhere, "reads were cut off, and asked elsewhere"

        calm = Load(url, rate=4)
        uploading = asyncio.create_task(calm.run(60))
        await asyncio.gather(restart_apis(cluster), restart_workers(cluster))
        calm.stop()
        await uploading
        assert (calm.retries, reads.failures) == (0, [])
        assert await cluster.balancer.read_metric("redispatch_warnings_total") == elsewhere, (
            "and the balancer saw no trouble"
        )

        await striking
        calm.acknowledged |= struck.acknowledged
        await check(cluster.environment, url, calm, listeners)
