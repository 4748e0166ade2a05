"""Events: the delay of the last of many clients, what a client costs, and many clients that come back at once.

`sse_clients.c` is all clients of a run. Events are added by SQL at fixed times, as uploads add theirs, with a wake-up
for the feeds; a delay counts from before their `INSERT` to the client that reads it last.
"""

import asyncio
import json
import resource
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import redis.asyncio as redis

from bench.load import Target, compiled, cpu_seconds, memory_bytes
from bench.results import Bar, Goal, Plot, Result, Table, number
from bench.servers import Servers, Version

RATE = 20  # events a second
RUNS = {1_000: 5, 10_000: 10}  # clients, seconds of events
MAX_SECONDS = 60  # after which events that are not read do not count as read by all
BEHIND = 1_000  # events that each client of the storm has missed
STORM_GOAL, DELAY_GOAL, MEMORY_GOAL, BACK_GOAL = 8, 400, 25, 50  # s, ms, kB a client, MB
ADD = """
    INSERT INTO event (type, owner, image_id, version, data)
    SELECT 'image.updated', 'everybody', gen_random_uuid(), 1,
           ('{"sent":' || $2 || ',"title":"' || repeat('x', 280) || '"}')::json
    FROM generate_series(1, $1::integer)
"""
UNNUMBERED = "SELECT EXISTS (SELECT FROM event WHERE number IS NULL)"


@dataclass
class Publisher:
    """Adds events and wakes the feeds."""

    database: asyncpg.Connection
    valkey: redis.Redis
    channel: str

    async def add(self, count: int) -> None:
        await self.database.execute(ADD, count, str(time.time_ns()))
        await self.valkey.publish(self.channel, b"look")

    async def newest(self) -> int:
        """The number of the newest event, when the feed has numbered all."""
        while await self.database.fetchval(UNNUMBERED):  # noqa: ASYNC110  the feed is another process
            await asyncio.sleep(0.1)
        return int(await self.database.fetchval("SELECT head FROM event_numbers"))


@dataclass
class Run:
    """What `sse_clients` printed, and what the run took of the server."""

    version: str
    clients: int
    connected: float
    seconds: float
    whole: int
    p50: float
    p99: float
    lost: int
    cpu_each: float  # µs of the API for a client and event
    client_cpu: float  # µs of the load generator for the same
    connect_cpu: float  # ms of the API for a client
    memory: float  # kB a client
    afterwards: float  # MB more than before, when all have left


async def measure(servers: Servers) -> Result:
    runs, storms = [], []
    for version in servers.versions:
        for clients, seconds in RUNS.items():
            async with _api(servers, version) as (api, publisher):
                runs.append(await _run(api, publisher, version.name, clients, seconds))
        async with _api(servers, version) as (api, publisher):
            storms.append(await _storm(api, publisher, version.name, max(RUNS)))
    return _result(runs, storms)


@asynccontextmanager
async def _api(servers: Servers, version: Version) -> AsyncIterator[tuple[Target, Publisher]]:
    environment = await servers.environment(version)
    async with servers.api(version, GALLERY_NOTIFICATIONS__MAX_STREAMS="20000") as api:
        database = await asyncpg.connect(environment["DATABASE_URL"])
        valkey = redis.from_url(environment["REDIS_URL"])
        try:
            yield api, Publisher(database, valkey, f"{environment['GALLERY_REDIS__PREFIX']}:events")
        finally:
            await valkey.aclose()
            await database.close()


async def _run(api: Target, publisher: Publisher, version: str, clients: int, seconds: int) -> Run:
    total, head = RATE * seconds, await publisher.newest()
    began, memory, own = _api_cpu(api), memory_bytes(api.processes["API"]), _children_cpu()
    async with _clients(api, clients, head + total) as process:
        connected = await _line(process)
        connect_cpu = (_api_cpu(api) - began) / clients
        await asyncio.sleep(1)
        with_clients, began = memory_bytes(api.processes["API"]), _api_cpu(api)
        own += cpu_seconds({"clients": process.pid})["clients"]
        await _add_at_fixed_times(publisher, total)
        found = await _line(process)
        spent = _api_cpu(api) - began
    await asyncio.sleep(10)
    return Run(
        version,
        clients,
        connected["connected"],
        found["seconds"],
        found["whole"],
        found.get("p50", MAX_SECONDS * 1e3),
        found.get("p99", MAX_SECONDS * 1e3),
        _lost(found, clients * total),
        spent / clients / total * 1e6,
        (_children_cpu() - own) / clients / total * 1e6,
        connect_cpu * 1e3,
        (with_clients - memory) / clients / 1e3,
        (memory_bytes(api.processes["API"]) - memory) / 1e6,
    )


async def _add_at_fixed_times(publisher: Publisher, total: int) -> None:
    began = time.perf_counter()
    for index in range(total):
        await asyncio.sleep(max(0, began + index / RATE - time.perf_counter()))
        await publisher.add(1)


async def _storm(api: Target, publisher: Publisher, version: str, clients: int) -> list[str]:
    """All clients connect at once and read what they have missed."""
    head = await publisher.newest()
    await publisher.add(BEHIND)
    until = await publisher.newest()
    before, began = memory_bytes(api.processes["API"]), _api_cpu(api)
    async with _clients(api, clients, until, after=head) as process:
        connected, found = await _line(process), await _line(process)
    spent = (_api_cpu(api) - began) / clients * 1e3
    await asyncio.sleep(10)
    more = (memory_bytes(api.processes["API"]) - before) / 1e6
    lost = _lost(found, clients * BEHIND)
    figures = (connected["connected"], found["seconds"], spent, more)
    return [version, f"{clients:,}", *map(number, figures), f"{lost:,}"]


@asynccontextmanager
async def _clients(
    api: Target, clients: int, until: int, after: int | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    words = ("127.0.0.1", api.port, clients, until, MAX_SECONDS, *(() if after is None else (after,)))
    process = await asyncio.create_subprocess_exec(compiled("sse_clients"), *map(str, words), stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            await process.wait()


async def _line(process: asyncio.subprocess.Process) -> dict[str, float]:
    assert process.stdout is not None
    return dict(json.loads(await process.stdout.readline()))


def _lost(found: dict[str, float], wanted: int) -> int:
    """Events that a client did not get, or got twice; each closed connection, gap and refusal counts too."""
    faults = sum(found[name] for name in ("gaps", "repetitions", "closed", "refused"))
    return int(abs(wanted - found["events"]) + faults)


def _api_cpu(api: Target) -> float:
    return cpu_seconds({"API": api.processes["API"]})["API"]


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _result(runs: list[Run], storms: list[list[str]]) -> Result:
    most = next(run for run in reversed(runs) if run.version == runs[0].version)
    storm = storms[0]
    title = f"{most.clients:,} clients, {RATE} events a second"
    return Result(
        group="events",
        goals=[
            Goal(f"{title}: the last client, p99", DELAY_GOAL, most.p99, " ms"),
            Goal(f"{title}: lost", 0, most.lost),
            Goal(f"{title}: memory of a client", MEMORY_GOAL, most.memory, " kB"),
            Goal(f"{title}: memory when all have left", BACK_GOAL, most.afterwards, " MB"),
            Goal(f"{storm[1]} come back, {BEHIND:,} events behind", STORM_GOAL, float(storm[3]), " s"),
            Goal(f"{storm[1]} come back: lost", 0, int(storm[6].replace(",", ""))),
            Goal(
                "load generator quicker than a client's event", 5, most.cpu_each / most.client_cpu, " ×", at_least=True
            ),
        ],
        tables=[
            Table(
                f"{RATE} events a second to all clients; the delay of an event's last client in ms",
                [
                    "server",
                    "clients",
                    "connected in s",
                    "read by all",
                    "p50",
                    "p99",
                    "lost",
                    "CPU a client and event, µs",
                    "load generator, µs",
                    "CPU to connect, ms",
                    "memory a client, kB",
                    "MB afterwards",
                ],
                [_row(run) for run in runs],
            ),
            Table(
                f"Clients that come back at once, {BEHIND:,} events behind each",
                ["server", "clients", "connected in s", "complete in s", "CPU a client, ms", "MB afterwards", "lost"],
                storms,
            ),
        ],
        plots=[
            Plot(
                "events",
                "Delay of the last client, p50 to p99",
                "ms",
                [
                    Bar(f"{run.clients:,} clients, {run.version}", run.p50, run.p50, run.p99)
                    for run in runs
                    if run.whole
                ],
            )
        ],
        rounds={f"{run.version}: {run.clients} clients, p99, ms": [run.p99] for run in runs if run.whole},
    )


def _row(run: Run) -> list[str]:
    figures = (run.p50, run.p99, run.lost, run.cpu_each, run.client_cpu, run.connect_cpu, run.memory, run.afterwards)
    return [run.version, f"{run.clients:,}", number(run.connected), f"{run.whole} events", *map(number, figures)]
