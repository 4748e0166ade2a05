"""Reads: what an answer costs, as a multiple of the bare answer of the same run, and beside nginx for bytes."""

import asyncio
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx

from bench import library
from bench.load import PEER, Operation, Sample, Target, measure_in_turns, median, run_load
from bench.results import Goal, Plot, Result, Table, bar, number, ratio_range, with_range
from bench.servers import Servers

SECONDS = 0.8  # of one operation in a round
BARE_BYTES = 2000  # as an image's JSON
UNLIMITED = "9999999 per 60"
GOALS = {  # of the API's CPU, in multiples of the bare answer's
    "cached get": 1.5,
    "304": 1.2,
    "list of 50": 2.4,
    "rendition, 14 kB": 1.8,
    "rendition, 60 kB": 1.8,
    "rendition, 174 kB": 12,
    "cold get": 10,
}
LIMITED_GOAL = 0.5  # more than without limits and keys
LOAD_GOAL = 5  # times quicker than what it measures
RENDITIONS = {"rendition, 14 kB": 14_000, "rendition, 60 kB": 60_000, "rendition, 174 kB": 174_000}
LATENCIES = ("cached get", "list of 50", "rendition, 60 kB")
LATENCY_SECONDS, LATENCY_SHARE = 3, 0.5

Found = dict[tuple[str, str], list[Sample]]


async def measure(servers: Servers) -> Result:
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(servers.bare(BARE_BYTES))
        pairs = [(bare, Operation("bare answer", ["/"]))]
        for version in servers.versions:
            images = await library.fill(servers, version, library.small_and_large_photos())
            pairs += await _pairs_of(stack, servers, version.name, images)
        if peer := servers.peer():
            pairs += [(peer, operation) for operation in await _peer_operations(peer)]
        found = await measure_in_turns(pairs, servers.rounds, SECONDS)
        latencies = await _latencies(
            [(t, o) for t, o in pairs if o.name in LATENCIES and (t.name, o.name) in found], found
        )
    return _result(found, latencies, servers)


async def _pairs_of(
    stack: AsyncExitStack, servers: Servers, name: str, images: list[library.Image]
) -> list[tuple[Target, Operation]]:
    version = next(version for version in servers.versions if version.name == name)
    api = await stack.enter_async_context(servers.api(version))
    cold = await stack.enter_async_context(servers.api(version, GALLERY_CACHE__ENABLED="false"))
    key = await servers.make_key(version, "everybody")
    limited = await stack.enter_async_context(
        servers.api(
            version,
            GALLERY_ACCESS__OPEN="false",
            GALLERY_RATE__ENABLED="true",
            GALLERY_RATE__STRANGER=UNLIMITED,
            GALLERY_RATE__RENDITIONS=UNLIMITED,
        )
    )
    one, page = f"/api/v1/images/{images[0]['id']}", "/api/v1/images"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}") as client:
        etag = (await client.get(one)).raise_for_status().headers["etag"]
        files = {kind: library.rendition_of(images, size) for kind, size in RENDITIONS.items()}
        paths = {kind: urlsplit(file["url"]).path for kind, file in files.items()}
        contents = {kind: (await client.get(path)).raise_for_status().content for kind, path in paths.items()}
    reads = [
        Operation("cached get", [f"/api/v1/images/{image['id']}" for image in images[:50]]),
        Operation("304", [one], {"If-None-Match": etag}, status=304),
        Operation("list of 50", [page]),
        Operation("list of 50, zstd", [page], {"Accept-Encoding": "zstd"}),
        *(Operation(kind, [path]) for kind, path in paths.items()),
        Operation("health", ["/livez"]),
    ]
    pairs = [(api, operation) for operation in reads]
    pairs.append((cold, Operation("cold get", [one])))
    authorized = {"Authorization": f"Bearer {key}"}
    pairs += [(limited, Operation(f"{read.name}, limits and keys", read.paths, authorized)) for read in reads[:3:2]]
    if name == servers.versions[0].name:
        nginx = await stack.enter_async_context(servers.nginx({kind[11:-3]: contents[kind] for kind in contents}))
        pairs += [(nginx, Operation(kind, [f"/{kind[11:-3]}"])) for kind in contents]
    return pairs


async def _peer_operations(peer: Target) -> list[Operation]:
    """The reads that the seed's API has: one image, the list, health. Its images must be there already."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{peer.port}") as client:
        found = (await client.get("/api/v1/images")).raise_for_status().json()
    one = f"/api/v1/images/{found[0]['id']}"
    return [
        Operation("cached get", [one]),
        Operation("list of 50", ["/api/v1/images"]),
        Operation("health", ["/health"]),
    ]


async def _latencies(pairs: Sequence[tuple[Target, Operation]], found: Found) -> list[list[str]]:
    """Rows of an open loop at half of each target's own highest rate."""
    rows = []
    for target, operation in pairs:
        rate = median(found[target.name, operation.name], "rate") * LATENCY_SHARE
        sample = await run_load(target, operation, int(rate * LATENCY_SECONDS), rate)
        figures = [number(sample.latency[part]) for part in ("p50", "p99", "p999", "max")]
        rows.append([operation.name, target.name, number(rate), *figures])
        await asyncio.sleep(0.2)
    return rows


def _result(found: Found, latencies: list[list[str]], servers: Servers) -> Result:
    first = servers.versions[0].name
    bare = [sample.own_cpu for sample in found["bare", "bare answer"]]
    names = ["bare answer", *(operation for target, operation in found if target == first)]
    others = [name for name in ("baseline", PEER, "nginx") if any(target == name for target, _ in found)]
    rows = [_row(name, found, "bare" if name == "bare answer" else first, bare, others) for name in names]
    multiples = {name: _multiple(found, first, name) for name in names[1:]}
    goals = [Goal(f"{name}, CPU in bare answers", limit, multiples[name], " ×") for name, limit in GOALS.items()]
    limited = [multiples[f"{name}, limits and keys"] - multiples[name] for name in ("cached get", "list of 50")]
    goals.append(Goal("limits and keys, more bare answers", LIMITED_GOAL, sum(limited) / len(limited), " ×"))
    quickness = min(median(found[key]) / median(found[key], "load_cpu") for key in found if key[0] == first)
    goals.append(Goal("load generator quicker than any of these answers", LOAD_GOAL, quickness, " ×", at_least=True))
    bars = [bar(name, [sample.own_cpu for sample in found[first, name]]) for name in names[1:]]
    return Result(
        group="reads",
        goals=goals,
        tables=[
            Table(
                "CPU of the process for one answer in µs, median [lowest–highest round]",
                [
                    "answer",
                    "CPU, µs",
                    "bare answers",
                    "a second",
                    "load generator, µs",
                    *(f"{other}, µs" for other in others),
                ],
                rows,
            ),
            Table(
                f"Latency in ms from the intended start, at {LATENCY_SHARE:.0%} of the highest rate",
                ["answer", "server", "a second", "p50", "p99", "p99.9", "max"],
                latencies,
            ),
        ],
        plots=[Plot("reads", "CPU for one answer", "µs", [bar("bare answer", bare), *bars])],
        rounds={f"{target}: {name}, µs": [s.own_cpu for s in samples] for (target, name), samples in found.items()},
    )


def _row(name: str, found: Found, target: str, bare: list[float], others: list[str]) -> list[str]:
    samples = found[target, name]
    cpu = [sample.own_cpu for sample in samples]
    return [
        name,
        with_range(cpu),
        ratio_range(cpu, bare),
        number(median(samples, "rate")),
        number(median(samples, "load_cpu")),
        *(_other(found.get((other, name)), cpu) for other in others),
    ]


def _other(samples: list[Sample] | None, cpu: list[float]) -> str:
    """Another server's CPU, and Gallery's as a multiple of it."""
    if samples is None:
        return "–"
    theirs = [sample.own_cpu for sample in samples]
    return f"{number(statistics.median(theirs))} ({ratio_range(cpu, theirs)} ×)"


def _multiple(found: Found, target: str, name: str) -> float:
    return median(found[target, name]) / median(found["bare", "bare answer"])
