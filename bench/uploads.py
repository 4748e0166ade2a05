"""Uploads of one owner, on files and on S3: rate, CPU of each server, and the API's memory. No worker runs."""

import asyncio
import secrets
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache

import photos
from bench.load import Operation, Sample, Target, measure_in_turns, median, memory_bytes, run_load
from bench.results import Goal, Plot, Result, Table, bar, number, ratio_range, with_range
from bench.servers import Servers, Version

STORES = ("files", "s3")
SIZES = {"191 kB": (191_000, 16, 480), "1.9 MB": (1_930_000, 8, 120)}  # bytes, connections, uploads in a round
DIGITS = 16  # at the file's end, where decoders ignore them
LARGEST, LARGE_UPLOADS, AT_ONCE = 10_000_000, 96, 32
MEMORY_GOAL = 50  # MB more than before
PAIR_GOALS = {  # against the baseline: rate at least, CPU of all servers or of the API at most
    ("191 kB", "files"): (1.8, "all", 0.65),
    ("1.9 MB", "files"): (1.3, None, 0),
    ("191 kB", "s3"): (None, "API", 0.65),
    ("1.9 MB", "s3"): (None, "API", 0.65),
}

Found = dict[tuple[str, str], list[Sample]]


async def measure(servers: Servers) -> Result:
    async with AsyncExitStack() as stack:
        apis = [
            await stack.enter_async_context(servers.api(version, store, name=f"{version.name} {store}"))
            for version in servers.versions
            for store in STORES
        ]
        if peer := servers.peer():
            apis.append(peer)
        pairs = {size: [(api, _upload(size)) for api in apis] for size in SIZES}
        found: Found = {}
        for size, turns in pairs.items():
            found |= await measure_in_turns(turns, servers.rounds, count=SIZES[size][2])
    memory = [await _memory(servers, version, store) for version in servers.versions for store in STORES]
    return _result(found, memory, servers)


def _upload(size: str) -> Operation:
    wanted, connections, _ = SIZES[size]
    return make_upload(size, _photo(wanted), connections)


@cache
def _photo(size: int) -> bytes:
    """A photo with bytes after its end, so that it has the given size."""
    width, height = (1200, 900) if size < 1_000_000 else (4032, 3024)
    content = photos.a_jpeg(width, height, quality=88)
    assert len(content) + DIGITS <= size, "the photo has more bytes than asked for"
    return content + bytes(size - len(content) - DIGITS) + b"0" * DIGITS


def make_upload(name: str, photo: bytes, connections: int) -> Operation:
    """The upload of a photo whose last `DIGITS` bytes are other ones each time."""
    boundary = secrets.token_hex(16)
    lines = (
        f"--{boundary}",
        'Content-Disposition: form-data; name="file"; filename="lake.jpg"',
        "Content-Type: image/jpeg",
    )
    head, tail = "\r\n".join((*lines, "", "")).encode(), f"\r\n--{boundary}--\r\n".encode()
    return Operation(
        name,
        ["/api/v1/images"],
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
        status=201,
        connections=connections,
        body=head + photo + tail,
        digits_at=len(head) + len(photo) - DIGITS,
    )


async def _memory(servers: Servers, version: Version, store: str) -> tuple[str, list[float]]:
    """MB of a new API process before, at the highest, and ten seconds after uploads of 10 MB, 32 at once."""
    async with servers.api(version, store) as api:
        await run_load(api, _upload("191 kB"), 64)
        before = memory_bytes(api.processes["API"])
        async with _highest_memory(api) as highest:
            await run_load(api, make_upload("10 MB", _photo(LARGEST), AT_ONCE), LARGE_UPLOADS)
        await asyncio.sleep(10)
        after = memory_bytes(api.processes["API"])
    return f"{version.name} {store}", [size / 1e6 for size in (before, *highest, after)]


@asynccontextmanager
async def _highest_memory(api: Target) -> AsyncIterator[list[int]]:
    """A list that has the highest value at the end of the block."""
    found: list[int] = []

    async def watch() -> None:
        while True:
            found[:] = [max(*found, memory_bytes(api.processes["API"]), 0)]
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    try:
        yield found
    finally:
        watching.cancel()


def _result(found: Found, memory: list[tuple[str, list[float]]], servers: Servers) -> Result:
    first = servers.versions[0].name
    quickness = min(median(s) / median(s, "load_cpu") for (target, _), s in found.items() if target.startswith(first))
    goals = [
        *(goal for key in PAIR_GOALS if len(servers.versions) > 1 for goal in _pair_goals(found, *key)),
        *(
            Goal(f"32 uploads of 10 MB at once, {name.split()[1]}, more memory", MEMORY_GOAL, peak - before, " MB")
            for name, (before, peak, _) in memory
            if name.startswith(first)
        ),
        Goal("load generator quicker than the quickest upload", 5, quickness, " ×", at_least=True),
    ]
    processes = ("API", "PostgreSQL", "Valkey", "S3")
    return Result(
        group="uploads",
        goals=goals,
        tables=[
            Table(
                "Uploads a second, and CPU of each server for one in ms",
                ["upload", "server", "a second", "p50, ms", "p99, ms", *processes, "all", "load generator"],
                [_row(target, name, samples, processes) for (target, name), samples in found.items()],
            ),
            Table(
                f"Memory of the API in MB under {AT_ONCE} uploads of 10 MB at once",
                ["server", "before", "highest", "more", "10 s later"],
                [[name, *map(number, (before, peak, peak - before, after))] for name, (before, peak, after) in memory],
            ),
            *([_ratios(found)] if len(servers.versions) > 1 else []),
        ],
        plots=[
            Plot(
                "uploads",
                "Uploads a second",
                "a second",
                [bar(f"{name}, {target}", [s.rate for s in samples]) for (target, name), samples in found.items()],
            )
        ],
        rounds={f"{target}: {name}, a second": [s.rate for s in samples] for (target, name), samples in found.items()}
        | {f"{target}: {name}, API, µs": [s.own_cpu for s in samples] for (target, name), samples in found.items()},
    )


def _row(target: str, name: str, samples: list[Sample], processes: tuple[str, ...]) -> list[str]:
    def cpu(process: str) -> str:
        values = [sample.cpu[process] / 1000 for sample in samples if process in sample.cpu]
        return with_range(values) if values else "–"

    return [
        name,
        target,
        with_range([sample.rate for sample in samples]),
        *(number(statistics.median(sample.latency[part] for sample in samples)) for part in ("p50", "p99")),
        *map(cpu, processes),
        with_range([sum(sample.cpu.values()) / 1000 for sample in samples]),
        number(median(samples, "load_cpu") / 1000),
    ]


def _ratios(found: Found) -> Table:
    rows = []
    for size, store in PAIR_GOALS:
        new, old = found[f"gallery {store}", size], found[f"baseline {store}", size]
        figures = (_rates, _api_cpu, _all_cpu)
        rows.append([size, store, *(ratio_range(figure(new), figure(old)) for figure in figures)])
    return Table(
        "This version in multiples of the baseline", ["upload", "store", "rate", "CPU of the API", "CPU of all"], rows
    )


def _pair_goals(found: Found, size: str, store: str) -> list[Goal]:
    rate, whose, cpu = PAIR_GOALS[size, store]
    new, old = found[f"gallery {store}", size], found[f"baseline {store}", size]
    goals = []
    if rate:
        reached = median(new, "rate") / median(old, "rate")
        goals.append(Goal(f"{size} on {store}, rate against the baseline", rate, reached, " ×", at_least=True))
    if whose:
        figure = _all_cpu if whose == "all" else _api_cpu
        reached = statistics.median(figure(new)) / statistics.median(figure(old))
        goals.append(Goal(f"{size} on {store}, CPU of {whose} against the baseline", cpu, reached, " ×"))
    return goals


def _rates(samples: list[Sample]) -> list[float]:
    return [sample.rate for sample in samples]


def _api_cpu(samples: list[Sample]) -> list[float]:
    return [sample.own_cpu for sample in samples]


def _all_cpu(samples: list[Sample]) -> list[float]:
    return [sum(sample.cpu.values()) for sample in samples]
