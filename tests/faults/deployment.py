"""An API and workers, a proxy before each of their servers, clients that upload and listen; and the final check."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import asyncpg
import httpx

from faults.backends import Backends
from faults.checker import check, wait_until_none
from faults.intensity import Intensity
from faults.load import Load, ReceivedEvents, listen
from faults.monitor import LivenessMonitor
from faults.proxy import Proxy
from gallery_processes import RunningGallery, RunningProcess, api, worker

LISTENERS = 5
UNSETTLED = "SELECT count(*) FROM image WHERE work_state IS NOT NULL AND deleted_at IS NULL AND created_at <= $1"
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass
class Deployment:
    """`environment` leads through the proxies, `direct_environment` past them."""

    environment: dict[str, str]
    direct_environment: dict[str, str]
    backends: Backends
    intensity: Intensity
    database: Proxy
    valkey: Proxy
    store: Proxy
    logs: Path
    stack: AsyncExitStack
    monitor: LivenessMonitor
    load: Load
    record: Callable[[str, object], None]
    apis: list[RunningGallery] = field(default_factory=list)
    workers: list[RunningProcess] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['PORT']}"

    async def start_api(self, **more: str) -> None:
        """Start an API on the same port as before. With `GALLERY_FAULT`, clients may already have killed it."""
        running = api({**self.environment, **more}, self.logs, PORT=self.environment["PORT"])
        self.apis.append(await self.stack.enter_async_context(running))
        if "GALLERY_FAULT" not in more:
            self.monitor.start(self.url, self.apis[-1].pid)

    async def start_worker(self, **more: str) -> RunningProcess:
        self.workers.append(await self.stack.enter_async_context(worker({**self.environment, **more}, self.logs)))
        return self.workers[-1]

    async def stop_api(self, number: int = signal.SIGKILL) -> None:
        self.monitor.pause()
        await self.apis.pop().stop(number)

    async def wait_until_api_dies(self) -> None:
        """Wait, a minute at most, until the API is killed by its own failpoint."""
        self.monitor.pause()
        assert await _wait_until_dead(self.apis.pop()) == -signal.SIGKILL

    async def wait_until_worker_dies(self, worker: RunningProcess) -> None:
        assert await _wait_until_dead(worker) == -signal.SIGKILL
        self.workers.remove(worker)

    def use_file_store(self, folder: Path) -> None:
        """Store objects in files instead of S3."""
        for environment in (self.environment, self.direct_environment):
            for name in [name for name in environment if name.startswith("S3_")]:
                del environment[name]
            environment["GALLERY_DATA_DIR"] = str(folder)

    def restore(self) -> None:
        for proxy in (self.database, self.valkey, self.store):
            proxy.restore()

    async def wait_until_unready(self, name: str) -> None:
        """Wait until `/readyz` names the unavailable server; the API must answer meanwhile."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as client, asyncio.timeout(20):
            while True:
                answer = await client.get("/readyz")
                if answer.status_code == 503 and name in answer.json()["away"]:
                    return
                await asyncio.sleep(0.1)


Fault = Callable[[Deployment], Awaitable[None]]


@asynccontextmanager
async def open_deployment(
    direct: Mapping[str, str],
    backends: Backends,
    intensity: Intensity,
    logs: Path,
    record: Callable[[str, object], None],
) -> AsyncIterator[Deployment]:
    """A deployment in which no process of Gallery runs yet."""
    async with AsyncExitStack() as stack:
        names = ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT")
        proxies = [await stack.enter_async_context(Proxy(direct[name])) for name in names]
        environment = {**direct, **{name: proxy.url for name, proxy in zip(names, proxies, strict=True)}}
        monitor = await stack.enter_async_context(LivenessMonitor())
        load = Load(f"http://127.0.0.1:{direct['PORT']}")
        deployment = Deployment(
            environment, dict(direct), backends, intensity, *proxies, logs, stack, monitor, load, record
        )
        try:
            yield deployment
        finally:
            deployment.restore()
            for backend in backends.all:
                await backend.start()


async def check_survives(
    deployment: Deployment,
    fault: Fault,
    *,
    workers: Sequence[Mapping[str, str]] = (NO_SETTINGS, NO_SETTINGS),
    listeners: int = LISTENERS,
    api: Mapping[str, str] = NO_SETTINGS,
) -> None:
    """No upload is lost, stuck or doubled, and no event is lost, while `fault` happens under load.

    `workers` and `api` have the settings of single processes.
    """
    await deployment.start_api(**api)
    await asyncio.gather(*(deployment.start_worker(**more) for more in workers))
    async with listen_all(deployment, listeners) as received:
        await warm_up(deployment)
        uploading = asyncio.create_task(deployment.load.run(deployment.intensity.load_seconds))
        try:
            await fault(deployment)
            deployment.restore()
            deployment.record("recovery", round(await measure_recovery(deployment), 1))
            await uploading
            await check(deployment.direct_environment, deployment.url, deployment.load, received)
        finally:
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)
    deployment.monitor.check()
    deployment.monitor.check_sizes([running.pid for running in (*deployment.apis, *deployment.workers)])


async def measure_recovery(deployment: Deployment) -> float:
    """Seconds until all waiting clients have an answer, and all images uploaded before are settled."""
    clock = asyncio.get_running_loop().time
    started_at = clock()
    connection = await asyncpg.connect(deployment.direct_environment["DATABASE_URL"])
    try:
        now = await connection.fetchval("SELECT now()")
        await asyncio.gather(*deployment.load.pending())
        await wait_until_none(lambda: connection.fetchval(UNSETTLED, now))
    finally:
        await connection.close()
    return clock() - started_at


async def warm_up(deployment: Deployment) -> None:
    """Let processes open their connections and renderers: `check_sizes` compares with the sizes measured here."""
    await deployment.load.run(1)
    async with asyncio.timeout(30):
        while not await deployment.load.all_ready():
            await asyncio.sleep(0.1)
    deployment.monitor.measure_sizes([running.pid for running in (*deployment.apis, *deployment.workers)])


@asynccontextmanager
async def listen_all(deployment: Deployment, listeners: int) -> AsyncIterator[Sequence[ReceivedEvents]]:
    received = [ReceivedEvents() for _ in range(listeners)]
    tasks = [asyncio.create_task(listen(deployment.url, events)) for events in received]
    try:
        async with asyncio.timeout(20):
            while not all(events.connections for events in received):
                await asyncio.sleep(0.02)
        yield received
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_until_dead(running: RunningProcess) -> int:
    async with asyncio.timeout(60):
        return await running.process.wait()


def send_signal(running: RunningProcess, signal_number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(running.pid, signal_number)
