"""Pictures on demand: what a new and a kept one cost, and what other callers feel of a flood of new ones."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

import httpx

import photos
from bench import library, load
from bench.load import Operation, Sample, Target, cpu_seconds, run_load
from bench.results import Goal, Result, Table, number, with_range
from bench.servers import Servers, Version

SIDES = (4032, 3024)  # 12 megapixels
NEW, KEPT, COUNTED = 25, 200, 1000  # requests
QUERY = "w=800&h=600&fit=cover&format=webp"
READS_PER_SECOND, READ_SECONDS, READ_CONNECTIONS = 200, 12, 8
FLOOD_CONNECTIONS = 16
FIRST_QUALITY = 70
SETTLE_SECONDS = 1.0  # in which a new API process begins to answer from memory, and starts its renderers
PAUSE_SECONDS = 1.0  # between two new pictures of the other caller
NEW_GOAL_MS, FLOOD_GOAL = 60.0, 2.0
NO_BUDGET, SMALL_BUDGET = "100000", "0.1"  # seconds of rendering in a minute


class Flooded(NamedTuple):
    """What one caller's flood did: another's reads before it and under it, new pictures in ms, and all answers."""

    idle: Sample
    flooded: Sample
    new_pictures: list[float]
    refused: Counter[int]
    flood: Counter[int]


async def measure(servers: Servers) -> Result:
    version = servers.versions[0]
    [image] = await library.fill(servers, version, [photos.a_jpeg(*SIDES, seed=1)])
    path = f"/api/v1/images/{image['id']}"
    async with servers.api(version, GALLERY_PICTURES__BUDGET=NO_BUDGET) as api, _client(api) as client:
        await _get(client, f"{path}/picture?{QUERY}&q=1")  # starts the renderer
        new, new_cpu = await _times(api, NEW, lambda n: _get(client, f"{path}/picture?{QUERY}&q={20 + n}"))
        kept, kept_cpu = await _times(api, KEPT, lambda n: _get(client, f"{path}/picture?{QUERY}&q=20", f"c{n}"))
        rendition = library.rendition_of([image], 60_000)["url"]
        plain, plain_cpu = await _times(api, KEPT, lambda n: _get(client, rendition, f"c{n}"))
    costs = await _costs(servers, version, path, rendition)
    floods = [await _flood(servers, version, path, FIRST_QUALITY + number_) for number_ in range(servers.rounds)]
    return _result({"new": (new, new_cpu), "kept": (kept, kept_cpu), "rendition": (plain, plain_cpu)}, costs, floods)


async def _times(api: Target, count: int, request: Callable[[int], Awaitable[object]]) -> tuple[list[float], float]:
    """Milliseconds of each request, one at a time, and the CPU of one in ms, of the API and its renderer."""
    processes = {"API": api.processes["API"]}
    before, found = cpu_seconds(processes)["API"], []
    for number_ in range(count):
        began = time.perf_counter()
        await request(number_)
        found.append((time.perf_counter() - began) * 1000)
    return found, (cpu_seconds(processes)["API"] - before) * 1000 / count


async def _costs(servers: Servers, version: Version, path: str, rendition: str) -> dict[str, Sample]:
    """CPU of requests that render nothing, each time another one for the memory of finished responses."""
    settings = {"GALLERY_PICTURES__BUDGET": SMALL_BUDGET, "GALLERY_RATE__ENABLED": "false"}
    async with servers.api(version, **settings) as api, _client(api) as client:
        await _get(client, f"{path}/picture?w=399")  # spends the budget of a minute
        numbers = range(COUNTED)
        requests = {
            "refused": Operation("refused", [f"{path}/picture?w={400 + n}" for n in numbers], status=429),
            "kept": Operation("kept", [f"{path}/picture?w=399&v={n}" for n in numbers]),
            "rendition": Operation("rendition", [f"{rendition}&other={n}" for n in numbers]),
        }
        return {name: await run_load(api, operation, COUNTED) for name, operation in requests.items()}


async def _flood(servers: Servers, version: Version, path: str, quality: int) -> Flooded:
    """One caller asks for new pictures as fast as it can; another reads, and asks for a new picture now and then. In
    another quality all of them are other pictures.
    """
    keys = [await servers.make_key(version, "everybody") for _ in range(2)]
    settings = {"GALLERY_RATE__ENABLED": "false", "GALLERY_ACCESS__OPEN": "false"}
    paths = [f"{path}/picture?w={width}&format=webp&blur=1&q={quality}" for width in range(400, 2000)]
    new_pictures = Operation("flood", paths, connections=FLOOD_CONNECTIONS)
    async with servers.api(version, **settings) as api, _client(api, keys[0]) as other:
        await asyncio.sleep(SETTLE_SECONDS)
        idle, refused = await _reads(api, keys[0], path), Counter[int]()
        async with load.flood(replace(api, headers={"X-API-Key": keys[1]}), new_pictures) as answers:
            asking = asyncio.create_task(_ask_now_and_then(other, path, quality, refused))
            try:
                await asyncio.sleep(SETTLE_SECONDS)
                under = await _reads(api, keys[0], path)
            finally:
                asking.cancel()
            times = await asking
    return Flooded(idle, under, times, refused, answers)


async def _reads(api: Target, key: str, path: str) -> Sample:
    """Reads of JSON at a fixed rate."""
    target = replace(api, headers={"X-API-Key": key})
    reads = Operation("read", [path], connections=READ_CONNECTIONS)
    return await run_load(target, reads, READS_PER_SECOND * READ_SECONDS, READS_PER_SECOND, realtime=True)


async def _ask_now_and_then(client: httpx.AsyncClient, path: str, quality: int, refused: Counter[int]) -> list[float]:
    """Milliseconds of each new picture, until cancelled."""
    found: list[float] = []
    try:
        for height in range(300, 900):
            await asyncio.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            answer = await client.get(f"{path}/picture?h={height}&format=webp&q={quality}")
            found.append((time.perf_counter() - began) * 1000)
            if answer.status_code != 200:
                refused[answer.status_code] += 1
    except asyncio.CancelledError:
        return found
    return found


def _client(api: Target, key: str = "") -> httpx.AsyncClient:
    headers = {"X-API-Key": key} if key else {}
    limits = httpx.Limits(max_connections=100)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=60, headers=headers, limits=limits)


async def _get(client: httpx.AsyncClient, path: str, other: str = "") -> bytes:
    """`other` makes the request another one for the memory of finished responses."""
    return (await client.get(path, headers={"X-Other": other} if other else {})).raise_for_status().content


def _result(found: dict[str, tuple[list[float], float]], costs: dict[str, Sample], floods: list[Flooded]) -> Result:
    names = {
        "new": "new, 12 MP JPEG to 800 × 600 WebP",
        "kept": "kept, from the store",
        "rendition": "rendition of 60 kB, from the store",
    }
    flood = sum((it.flood for it in floods), Counter[int]())
    refused = sum((it.refused for it in floods), Counter[int]())
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(flood.items()))
    idle = [it.idle.latency["p99"] for it in floods]
    under = [it.flooded.latency["p99"] for it in floods]
    realtime = all(it.idle.realtime and it.flooded.realtime for it in floods)
    new_pictures = [time_ for it in floods for time_ in it.new_pictures]
    return Result(
        group="pictures",
        goals=[
            Goal("new picture, 12 MP to 800 × 600 WebP, p50", NEW_GOAL_MS, statistics.median(found["new"][0]), " ms"),
            Goal(
                "reads under another caller's flood, p99 against idle",
                FLOOD_GOAL,
                statistics.median(under) / statistics.median(idle),
                " ×",
            ),
            Goal("new pictures of others refused under a flood", 0, sum(refused.values())),
        ],
        tables=[
            Table(
                "One picture at a time, idle: ms from the request to its last byte, and CPU of API and renderer",
                ["picture", "p50", "p95", "CPU, ms"],
                [
                    [
                        names[name],
                        number(statistics.median(times)),
                        number(statistics.quantiles(times, n=20)[18]),
                        number(cpu),
                    ]
                    for name, (times, cpu) in found.items()
                ],
            ),
            Table(
                "CPU of a request that renders nothing, in µs",
                ["request", "API", "PostgreSQL", "Valkey"],
                [
                    [
                        names.get(name, "refused, since the caller's budget is spent"),
                        *(number(sample.cpu[process]) for process in ("API", "PostgreSQL", "Valkey")),
                    ]
                    for name, sample in costs.items()
                ],
            ),
            Table(
                f"A flood of new pictures by one caller ({FLOOD_CONNECTIONS} connections, answers: {answers})",
                ["another caller", "idle", "under the flood"],
                [
                    ["reads of JSON, p99, ms", with_range(idle), with_range(under)],
                    ["new pictures, p50, ms", "–", number(statistics.median(new_pictures))],
                    ["new pictures, longest, ms", "–", number(max(new_pictures))],
                ],
            ),
        ],
        notes=[f"The load generator of the reads had {'real-time' if realtime else 'ordinary'} priority."],
        rounds={f"{name}, ms": times for name, (times, _) in found.items()}
        | {"reads idle, p99, ms": idle, "reads under the flood, p99, ms": under, "pictures under it, ms": new_pictures},
    )
