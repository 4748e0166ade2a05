"""The worker: images a second of a long queue beside `render()` in a loop, and the time from a POST to READY, idle."""

import asyncio
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import cache

import asyncpg
import httpx

import photos
from bench import ROOT
from bench.load import cpu_seconds, run_load
from bench.results import Goal, Plot, Result, Table, bar, ratio_range, with_range
from bench.servers import Servers, Version
from bench.uploads import DIGITS, make_upload
from factories import listen, post

STORES = ("files", "s3")
RENDERERS = 2  # the default
MAX_ROUNDS = 3
SIDES = {"2 MP": (1600, 1200), "12 MP": (4032, 3024)}
ORIGINALS = 4  # different pictures
IMAGES = 48  # of 12 MP, in a round
EDGE = 4  # images that are READY first or last are not counted: then not all renderers work
LATENCIES, PAUSE_SECONDS = 15, 0.3
RATE_GOALS = {"files": 0.97, "s3": 0.9}  # of render() in a loop
LATENCY_GOALS = {"2 MP": 0.18, "12 MP": 0.33}  # seconds
READY = "SELECT extract(epoch FROM at)::float8 FROM timeline WHERE stage = 'ready' AND at > $1 ORDER BY at"
WAL_BYTES = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8"

Figures = defaultdict[str, list[float]]


async def measure(servers: Servers) -> Result:
    rates, cpu = Figures(list), defaultdict[str, Figures](lambda: Figures(list))
    working, wal = Figures(list), Figures(list)
    for _ in range(min(servers.rounds, MAX_ROUNDS)):
        for kind in ("render", "libvips"):
            rates[kind].append(await _loops(servers, kind))
        for version in servers.versions:
            for store in STORES:
                name = f"{version.name} {store}"
                rate, busy, spent, written = await _depth(servers, version, store)
                rates[name].append(rate)
                working[name].append(busy * 100)
                wal[name].append(written)
                for process, milliseconds in spent.items():
                    cpu[name][process].append(milliseconds)
    times = {
        f"{version.name} {store}": await _latencies(servers, version, store)
        for version in servers.versions
        for store in STORES
    }
    return _result(rates, working, cpu, wal, times, servers.versions[0].name)


async def _loops(servers: Servers, kind: str) -> float:
    """Images a second of as many processes as the worker has renderers, together."""
    folder = servers.folder / "loops"
    originals = [folder / f"original-{number}" for number in range(ORIGINALS)]
    if not folder.exists():
        folder.mkdir()
        for path, content in zip(originals, _originals("12 MP"), strict=True):
            path.write_bytes(content)
    targets = [folder / str(number) for number in range(RENDERERS)]
    words = [sys.executable, "-m", "bench.render_loop", kind, IMAGES // RENDERERS]
    loops = []
    for target in targets:
        target.mkdir(exist_ok=True)
        line = map(str, (*words, target, *originals))
        loops.append(
            await asyncio.create_subprocess_exec(*line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
    for loop in loops:
        assert loop.stdout is not None
        await loop.stdout.readline()
    found = await asyncio.gather(*(loop.communicate(b"\n") for loop in loops))
    return sum(float(out) for out, _ in found)


async def _depth(servers: Servers, version: Version, store: str) -> tuple[float, float, Mapping[str, float], float]:
    """Images a second from a long queue, the part of the time that renderers render (firm also on a busy machine), ms
    of CPU for an image by process, and kB of write-ahead log for an image.
    """
    async with servers.api(version, store) as api:
        for content in _originals("12 MP"):
            upload = make_upload("12 MP", content + b"0" * DIGITS, connections=4)
            await run_load(api, upload, IMAGES // ORIGINALS)
        processes = {name: pid for name, pid in api.processes.items() if name != "API"}
    environment = await servers.environment(version, store)
    database = await asyncpg.connect(environment["DATABASE_URL"])
    began, written = await database.fetchval("SELECT now()"), await database.fetchval(WAL_BYTES)
    before = cpu_seconds(processes)
    async with servers.worker(version, store) as worker, asyncio.timeout(300):
        while len(ready := await database.fetch(READY, began)) < IMAGES:  # noqa: ASYNC110  another process adds them
            await asyncio.sleep(0.2)
        after = cpu_seconds({"worker": worker.pid, **processes})
    log = (await database.fetchval(WAL_BYTES) - written) / 1000 / IMAGES
    await database.close()
    times = [row[0] for row in ready][EDGE - 1 : -EDGE]
    seconds = times[-1] - times[0]
    rendering = sum(line["render"] for line in worker.log_lines("image.ready")[EDGE : IMAGES - EDGE])
    spent = {name: (after[name] - before.get(name, 0)) * 1000 / IMAGES for name in after}
    return (len(times) - 1) / seconds, rendering / seconds / RENDERERS, spent, log


async def _latencies(servers: Servers, version: Version, store: str) -> dict[str, list[float]]:
    """Seconds from the first byte of a POST to the event `image.ready`, by size, one image at a time."""
    found: dict[str, list[float]] = {}
    async with (
        servers.api(version, store) as api,
        servers.worker(version, store),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=60) as client,
        listen(client) as events,
    ):
        for size in [*SIDES, *SIDES]:  # the first times warm everything up
            found[size] = []
            for number in range(LATENCIES):
                content = _originals(size)[number % ORIGINALS] + time.time_ns().to_bytes(DIGITS, "big")
                await asyncio.sleep(PAUSE_SECONDS)
                began = time.perf_counter()
                image = (await post(client, content)).raise_for_status().json()["id"]
                while image not in (await events.next("image.ready")).data:
                    pass  # one of the queue before, numbered now
                found[size].append(time.perf_counter() - began)
    return found


@cache
def _originals(size: str) -> list[bytes]:
    return [photos.a_jpeg(*SIDES[size], seed=seed) for seed in range(ORIGINALS)]


def _result(
    rates: Figures,
    working: Figures,
    cpu: Mapping[str, Figures],
    wal: Figures,
    times: Mapping[str, dict[str, list[float]]],
    first: str,
) -> Result:
    loop = rates["render"]
    goals = [
        Goal(
            f"12 MP on {store}, images a second of the loop's",
            limit,
            statistics.median(rates[f"{first} {store}"]) / statistics.median(loop),
            " ×",
            at_least=True,
        )
        for store, limit in RATE_GOALS.items()
    ]
    goals += [
        Goal(f"POST to READY, {size}, p50", limit, statistics.median(times[f"{first} files"][size]), " s")
        for size, limit in LATENCY_GOALS.items()
    ]
    titles = {"render": "`render()` in a loop", "libvips": "libvips in a loop"}
    processes = ("worker", "PostgreSQL", "Valkey", "S3")
    return Result(
        group="worker",
        goals=goals,
        tables=[
            Table(
                f"12 MP to six files, {RENDERERS} processes: images a second, and CPU for an image in ms",
                ["", "a second", "of the loop", "renderers work, %", *processes, "log, kB"],
                [
                    [
                        titles.get(name, name),
                        with_range(values),
                        ratio_range(values, loop),
                        with_range(working[name]) if name in working else "–",
                        *(with_range(cpu[name][p]) if name in cpu and p in cpu[name] else "–" for p in processes),
                        with_range(wal[name]) if name in wal else "–",
                    ]
                    for name, values in rates.items()
                ],
            ),
            Table(
                "Seconds from a POST to READY, one image at a time: the median [lowest–highest]",
                ["server", *SIDES],
                [[name, *(with_range(found[size]) for size in SIDES)] for name, found in times.items()],
            ),
        ],
        plots=[
            Plot(
                "worker",
                "Images of 12 MP, two processes",
                "a second",
                [bar(titles.get(name, name).replace("`", ""), values) for name, values in rates.items()],
            )
        ],
        rounds={f"{name}, images a second": values for name, values in rates.items()}
        | {f"{name}: POST to READY, {size}, s": v for name, found in times.items() for size, v in found.items()},
    )
