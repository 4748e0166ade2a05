"""An API and workers, a cable before each of their servers, clients that upload and listen; and what has to hold."""

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
from faults.checker import SETTLE_TIMEOUT_SECONDS, check
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
    """`environment` leads through the cables, `direct_environment` past them."""

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
        """On the same port as before."""
        running = api({**self.environment, **more}, self.logs, PORT=self.environment["PORT"])
        self.apis.append(await self.stack.enter_async_context(running))
        self.monitor.start(self.url, self.apis[-1].pid)

    async def start_worker(self, **more: str) -> RunningProcess:
        self.workers.append(await self.stack.enter_async_context(worker({**self.environment, **more}, self.logs)))
        return self.workers[-1]

    async def stop_api(self, number: int = signal.SIGKILL) -> None:
        self.monitor.pause()
        await self.apis.pop().stop(number)

    async def wait_until_api_dies(self) -> None:
        """By itself, in a minute at most."""
        self.monitor.pause()
        assert await _wait_until_dead(self.apis.pop()) == -signal.SIGKILL

    async def wait_until_worker_dies(self, worker: RunningProcess) -> None:
        assert await _wait_until_dead(worker) == -signal.SIGKILL
        self.workers.remove(worker)

    def use_file_store(self, folder: Path) -> None:
        """Files instead of S3."""
        for environment in (self.environment, self.direct_environment):
            for name in [name for name in environment if name.startswith("S3_")]:
                del environment[name]
            environment["GALLERY_DATA_DIR"] = str(folder)

    def restore(self) -> None:
        for cable in (self.database, self.valkey, self.store):
            cable.restore()

    async def wait_until_unready(self, name: str) -> None:
        """Wait until the API says that it cannot do its work, and why; while it lives."""
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
    """Nothing of ours runs in it yet."""
    async with AsyncExitStack() as stack:
        names = ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT")
        cables = [await stack.enter_async_context(Proxy(direct[name])) for name in names]
        environment = {**direct, **{name: cable.url for name, cable in zip(names, cables, strict=True)}}
        watch = await stack.enter_async_context(LivenessMonitor())
        load = Load(f"http://127.0.0.1:{direct['PORT']}")
        city = Deployment(environment, dict(direct), backends, intensity, *cables, logs, stack, watch, load, record)
        try:
            yield city
        finally:
            city.restore()
            for engine in backends.all:
                await engine.start()


async def check_survives(
    city: Deployment,
    fault: Fault,
    *,
    workers: Sequence[Mapping[str, str]] = (NO_SETTINGS, NO_SETTINGS),
    listeners: int = LISTENERS,
    api: Mapping[str, str] = NO_SETTINGS,
) -> None:
    """Nothing is lost, stuck, doubled or forgotten while `fault` happens under load.

    `workers` and `api` have settings of each one's own.
    """
    await city.start_api(**api)
    await asyncio.gather(*(city.start_worker(**more) for more in workers))
    async with listen_all(city, listeners) as heard:
        await warm_up(city)
        uploading = asyncio.create_task(city.load.run(city.intensity.load_seconds))
        try:
            await fault(city)
            city.restore()
            city.record("recovery", round(await measure_recovery(city), 1))
            await uploading
            await check(city.direct_environment, city.url, city.load, heard)
        finally:
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)
    city.monitor.check()
    city.monitor.check_sizes([running.pid for running in (*city.apis, *city.workers)])


async def measure_recovery(city: Deployment) -> float:
    """Seconds until whoever has waited for an answer has one, and until all is settled that was there already."""
    clock = asyncio.get_running_loop().time
    began = clock()
    connection = await asyncpg.connect(city.direct_environment["DATABASE_URL"])
    try:
        now = await connection.fetchval("SELECT now()")
        await asyncio.gather(*city.load.pending())
        async with asyncio.timeout(SETTLE_TIMEOUT_SECONDS):
            while await connection.fetchval(UNSETTLED, now):
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
    return clock() - began


async def warm_up(city: Deployment) -> None:
    """Processes have their connections and their renderers: what they take now is what they should come back to."""
    await city.load.run(1)
    async with asyncio.timeout(30):
        while not await city.load.all_ready():
            await asyncio.sleep(0.1)
    city.monitor.measure_sizes([running.pid for running in (*city.apis, *city.workers)])


@asynccontextmanager
async def listen_all(city: Deployment, listeners: int) -> AsyncIterator[Sequence[ReceivedEvents]]:
    heard = [ReceivedEvents() for _ in range(listeners)]
    hearing = [asyncio.create_task(listen(city.url, one)) for one in heard]
    try:
        async with asyncio.timeout(20):
            while not all(one.connections for one in heard):
                await asyncio.sleep(0.02)
        yield heard
    finally:
        for task in hearing:
            task.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)


async def _wait_until_dead(running: RunningProcess) -> int:
    async with asyncio.timeout(60):
        return await running.process.wait()


def send_signal(running: RunningProcess, signal_number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(running.pid, signal_number)
