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
from faults.intensity import in_full_only
from faults.load import Load, ReceivedEvents, listen
from faults.read_load import ReadLoad
from gallery_processes import RunningProcess, free_port, run_gallery, wait_until_ready, worker

HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")  # loopback addresses; one port for all, as behind one name
LISTENERS = 5


@dataclass
class Cluster:
    """The running APIs by host, and the workers."""

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
        pytest.skip("HAProxy is missing: install haproxy.")
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
        started = Cluster(more, tmp_path / "logs", stack, front)
        await asyncio.gather(
            *(started.start_api(host) for host in HOSTS), started.start_worker(), started.start_worker()
        )
        await front.wait_for_servers(len(HOSTS))
        yield started
        running = [each for each in (*started.apis.values(), *started.workers) if each.process.returncode is None]
        for each in running:  # a second SIGTERM ends a draining API at once
            each.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        await asyncio.gather(*(each.stop() for each in running))


@asynccontextmanager
async def with_clients(url: str) -> AsyncIterator[tuple[ReadLoad, list[ReceivedEvents]]]:
    """Readers and listeners while the block runs."""
    reads, listeners = ReadLoad(url), [ReceivedEvents() for _ in range(LISTENERS)]
    tasks = [asyncio.create_task(reads.run()), *(asyncio.create_task(listen(url, received)) for received in listeners)]
    try:
        async with asyncio.timeout(20):
            while not all(received.connections for received in listeners):  # late ones would miss the first events
                await asyncio.sleep(0.02)
        yield reads, listeners
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def kill_one_of_each(cluster: Cluster, load: Load) -> None:
    """Kill an API with requests in flight: it is frozen until it has some. Others start in their place."""
    host, api = HOSTS[0], cluster.apis[HOSTS[0]]
    os.kill(api.pid, signal.SIGSTOP)
    load.start(24)
    await asyncio.sleep(1)
    await asyncio.gather(cluster.workers.pop(0).stop(signal.SIGKILL), api.stop(signal.SIGKILL))
    await asyncio.gather(cluster.start_worker(), cluster.start_api(host))
    await cluster.balancer.wait_for_servers(len(HOSTS))


async def restart_apis(cluster: Cluster) -> None:
    """Restart one after the other, as an upgrade does.

    A second SIGTERM ends a draining API at once, so that the test waits only until the balancer has noticed the drain.
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


@in_full_only
async def test_a_kill_fails_no_read_and_a_rolling_restart_no_request(cluster):
    url = cluster.balancer.url
    async with with_clients(url) as (reads, listeners):
        killed_load = Load(url, rate=4)  # more would only queue up on slow machines
        killed_task = asyncio.create_task(killed_load.run(3))
        await asyncio.sleep(1)
        await kill_one_of_each(cluster, killed_load)
        assert reads.failures == []
        assert killed_load.retries, "uploads must be cut off and repeated with their keys"
        redispatched = await cluster.balancer.read_metric("redispatch_warnings_total")
        assert redispatched, "reads must be cut off and sent to another instance"

        restart_load = Load(url, rate=4)
        uploading = asyncio.create_task(restart_load.run(60))
        await asyncio.gather(restart_apis(cluster), restart_workers(cluster))
        restart_load.stop()
        await uploading
        assert (restart_load.retries, reads.failures) == (0, [])
        assert await cluster.balancer.read_metric("redispatch_warnings_total") == redispatched, (
            "a rolling restart must cut off no request"
        )

        await killed_task
        restart_load.acknowledged |= killed_load.acknowledged
        await check(cluster.environment, url, restart_load, listeners)
