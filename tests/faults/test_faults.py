"""Servers, processes and cables die under load; then every acknowledged upload is READY, and told of once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis.asyncio as redis

from faults.checker import check
from faults.load import Heard, Load, listen
from faults.proxy import Proxy
from processes import Running, Stack, api, free_port, worker

LOAD = 6.0  # seconds
LISTENERS = 5


@dataclass
class City:
    """An API, two workers, and a proxy before each of their servers. `direct` leads past the proxies."""

    environment: dict[str, str]
    direct: dict[str, str]
    logs: Path
    database: Proxy
    valkey: Proxy
    store: Proxy
    stack: AsyncExitStack
    api: Stack
    workers: list[Running] = field(default_factory=list)

    async def start_api(self) -> None:
        """On the same port as before."""
        self.api = await self.stack.enter_async_context(api(self.environment, self.logs, PORT=self.environment["PORT"]))

    async def start_worker(self) -> None:
        self.workers.append(await self.stack.enter_async_context(worker(self.environment, self.logs)))


@pytest.fixture
async def city(environment: dict[str, str], s3: dict[str, str], tmp_path: Path) -> AsyncIterator[City]:
    more = {
        **environment,
        **s3,
        "S3_BUCKET": f"faults-{os.urandom(4).hex()}",
        "GALLERY_S3__TIMEOUT": "3",
        "GALLERY_DATABASE__TIMEOUT": "3",
        "GALLERY_WORKER__LEASE": "4",
        "GALLERY_WORKER__SWEEP_EVERY": "1",
        "GALLERY_WORKER__CONCURRENCY": "1",
        "GALLERY_RATE__ENABLED": "false",
        "PORT": str(free_port()),
    }
    async with AsyncExitStack() as stack:
        cables = [
            await stack.enter_async_context(Proxy(more[name])) for name in ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT")
        ]
        database, valkey, store = cables
        through = {**more, "DATABASE_URL": database.url, "REDIS_URL": valkey.url, "S3_ENDPOINT": store.url}
        first = await stack.enter_async_context(api(through, tmp_path / "logs", PORT=more["PORT"]))
        here = City(through, more, tmp_path / "logs", database, valkey, store, stack, first)
        for _ in range(2):
            await here.start_worker()
        yield here
        for cable in cables:
            cable.heal()


async def api_killed(city: City) -> None:
    for _ in range(2):
        await asyncio.sleep(1)
        await city.api.stop(signal.SIGKILL)
        await city.start_api()


async def worker_killed(city: City) -> None:
    for _ in range(2):
        await asyncio.sleep(1)
        await city.workers.pop(0).stop(signal.SIGKILL)
        await city.start_worker()


async def worker_frozen(city: City) -> None:
    """For longer than its lease: then it is thawed, and must change nothing that is another's."""
    await asyncio.sleep(1)
    os.kill(city.workers[0].pid, signal.SIGSTOP)
    await asyncio.sleep(7)
    os.kill(city.workers[0].pid, signal.SIGCONT)


async def valkey_flushed(city: City) -> None:
    async with redis.from_url(city.direct["REDIS_URL"]) as server:
        for _ in range(3):
            await asyncio.sleep(1)
            await server.flushdb()


async def valkey_away(city: City) -> None:
    await asyncio.sleep(1)
    city.valkey.refuses = True
    city.valkey.cut()
    await asyncio.sleep(4)


async def valkey_hung(city: City) -> None:
    await asyncio.sleep(1)
    city.valkey.swallows = True
    await asyncio.sleep(4)


async def database_cut(city: City) -> None:
    for _ in range(4):
        await asyncio.sleep(1)
        city.database.cut()


async def database_away(city: City) -> None:
    await asyncio.sleep(1)
    city.database.refuses = True
    city.database.cut()
    await asyncio.sleep(4)


async def store_away(city: City) -> None:
    await asyncio.sleep(1)
    city.store.refuses = True
    city.store.cut()
    await asyncio.sleep(4)


async def store_cut_in_the_middle(city: City) -> None:
    """Of what it sends: originals arrive truncated, and answers to puts get lost after the put was applied."""
    await asyncio.sleep(1)
    city.store.cut_after = 2_000
    await asyncio.sleep(4)


async def store_slow(city: City) -> None:
    city.store.delay = 0.1
    await asyncio.sleep(5)


FAULTS = [
    api_killed,
    worker_killed,
    worker_frozen,
    valkey_flushed,
    valkey_away,
    valkey_hung,
    database_cut,
    database_away,
    store_away,
    store_cut_in_the_middle,
    store_slow,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_is_lost(city, fault):
    load, listeners = Load(city.api.url), [Heard() for _ in range(LISTENERS)]
    hearing = [asyncio.create_task(listen(city.api.url, heard)) for heard in listeners]
    await asyncio.sleep(0.5)
    uploading = asyncio.create_task(load.run(LOAD))
    try:
        await fault(city)
        for cable in (city.database, city.valkey, city.store):
            cable.heal()
        await uploading
        await check(city.direct, city.api.url, load, listeners)
    finally:
        for task in (uploading, *hearing):
            task.cancel()
        await asyncio.gather(uploading, *hearing, return_exceptions=True)
