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

from faults.checker import PATIENCE, check
from faults.engines import Engines
from faults.forms import Form
from faults.load import Heard, Load, listen
from faults.proxy import Proxy
from faults.watch import Watch
from processes import Running, Stack, api, worker

LISTENERS = 5
UNSETTLED = "SELECT count(*) FROM image WHERE work IS NOT NULL AND deleted_at IS NULL AND created_at <= $1"
NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass
class City:
    """`environment` leads through the cables, `direct` past them."""

    environment: dict[str, str]
    direct: dict[str, str]
    behind: Engines
    form: Form
    database: Proxy
    valkey: Proxy
    store: Proxy
    logs: Path
    stack: AsyncExitStack
    watch: Watch
    load: Load
    tell: Callable[[str, object], None]
    apis: list[Stack] = field(default_factory=list)
    workers: list[Running] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['PORT']}"

    async def start_api(self, **more: str) -> None:
        """On the same port as before."""
        running = api({**self.environment, **more}, self.logs, PORT=self.environment["PORT"])
        self.apis.append(await self.stack.enter_async_context(running))
        self.watch.begin(self.url, self.apis[-1].pid)

    async def start_worker(self, **more: str) -> Running:
        self.workers.append(await self.stack.enter_async_context(worker({**self.environment, **more}, self.logs)))
        return self.workers[-1]

    async def stop_api(self, number: int = signal.SIGKILL) -> None:
        self.watch.pause()
        await self.apis.pop().stop(number)

    async def api_dies(self) -> None:
        """By itself, in a minute at most."""
        self.watch.pause()
        assert await _dies(self.apis.pop()) == -signal.SIGKILL

    async def worker_dies(self, worker: Running) -> None:
        assert await _dies(worker) == -signal.SIGKILL
        self.workers.remove(worker)

    def keep_objects_in(self, folder: Path) -> None:
        """Files instead of S3."""
        for environment in (self.environment, self.direct):
            for name in [name for name in environment if name.startswith("S3_")]:
                del environment[name]
            environment["GALLERY_DATA_DIR"] = str(folder)

    def heal(self) -> None:
        for cable in (self.database, self.valkey, self.store):
            cable.heal()

    async def unready(self, name: str) -> None:
        """Wait until the API says that it cannot do its work, and why; while it lives."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10) as client, asyncio.timeout(20):
            while True:
                answer = await client.get("/readyz")
                if answer.status_code == 503 and name in answer.json()["away"]:
                    return
                await asyncio.sleep(0.1)


Fault = Callable[[City], Awaitable[None]]


@asynccontextmanager
async def opened(
    direct: Mapping[str, str], behind: Engines, form: Form, logs: Path, tell: Callable[[str, object], None]
) -> AsyncIterator[City]:
    """Nothing of ours runs in it yet."""
    async with AsyncExitStack() as stack:
        names = ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT")
        cables = [await stack.enter_async_context(Proxy(direct[name])) for name in names]
        environment = {**direct, **{name: cable.url for name, cable in zip(names, cables, strict=True)}}
        watch = await stack.enter_async_context(Watch())
        load = Load(f"http://127.0.0.1:{direct['PORT']}")
        city = City(environment, dict(direct), behind, form, *cables, logs, stack, watch, load, tell)
        try:
            yield city
        finally:
            city.heal()
            for engine in behind.all:
                await engine.start()


async def survives(
    city: City,
    fault: Fault,
    *,
    workers: Sequence[Mapping[str, str]] = (NOTHING, NOTHING),
    listeners: int = LISTENERS,
    api: Mapping[str, str] = NOTHING,
) -> None:
    """Nothing is lost, stuck, doubled or forgotten while `fault` happens under load.

    `workers` and `api` have settings of each one's own.
    """
    await city.start_api(**api)
    await asyncio.gather(*(city.start_worker(**more) for more in workers))
    async with heard_by(city, listeners) as heard:
        await warmed_up(city)
        uploading = asyncio.create_task(city.load.run(city.form.load))
        try:
            await fault(city)
            city.heal()
            city.tell("recovery", round(await recovery(city), 1))
            await uploading
            await check(city.direct, city.url, city.load, heard)
        finally:
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)
    city.watch.check()
    city.watch.check_sizes([running.pid for running in (*city.apis, *city.workers)])


async def recovery(city: City) -> float:
    """Seconds until whoever has waited for an answer has one, and until all is settled that was there already."""
    clock = asyncio.get_running_loop().time
    began = clock()
    connection = await asyncpg.connect(city.direct["DATABASE_URL"])
    try:
        now = await connection.fetchval("SELECT now()")
        await asyncio.gather(*city.load.under_way())
        async with asyncio.timeout(PATIENCE):
            while await connection.fetchval(UNSETTLED, now):
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
    return clock() - began


async def warmed_up(city: City) -> None:
    """Processes have their connections and their renderers: what they take now is what they should come back to."""
    await city.load.run(1)
    async with asyncio.timeout(30):
        while not await city.load.all_ready():
            await asyncio.sleep(0.1)
    city.watch.measure([running.pid for running in (*city.apis, *city.workers)])


@asynccontextmanager
async def heard_by(city: City, listeners: int) -> AsyncIterator[Sequence[Heard]]:
    heard = [Heard() for _ in range(listeners)]
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


async def _dies(running: Running) -> int:
    async with asyncio.timeout(60):
        return await running.process.wait()


def send(running: Running, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(running.pid, number)
