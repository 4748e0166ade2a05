"""Measures the cost of one operation in each part: `python -m bench.capacity` prints the table for docs/scaling.md.

It uses `gallery dev` over HTTP and reads the kernel's accounts of each process, so the figures hold on a busy machine
too, if less exactly. CPU in milliseconds; bytes of the write-ahead log, of tables and of objects per image.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import httpx
import msgspec
import psutil

import photos
from factories import listen, post
from gallery.embedded.datadir import RunInfo
from gallery_processes import RunningGallery, base_environment, command_line, dev

UPLOADS = {"a photo of 2 MP": (1600, 1200, 100), "a photo of 12 MP": (4032, 3024, 20)}
READS = 2_000
PARTS = {"API": "gallery serve", "worker": "gallery worker", "PostgreSQL": "postgres", "Valkey": "valkey-server"}
SIZES = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200"


async def main() -> None:
    environment = base_environment() | {"GALLERY_LOGS__LEVEL": "warning"}
    with tempfile.TemporaryDirectory(prefix="gallery-capacity-") as folder:
        async with dev(environment, Path(folder)) as stack, httpx.AsyncClient(base_url=stack.url, timeout=60) as client:
            running = msgspec.json.decode((stack.data / "run.json").read_bytes(), type=RunInfo)
            database = await asyncpg.connect(running.database_url)
            await _upload_all(client, photos.distinct_photos(10))  # warms everything up, a renderer too
            for name, (width, height, count) in UPLOADS.items():
                contents = [photos.a_jpeg(width, height, seed) for seed in range(count)]
                print_row(name, await _measure_uploads(stack, client, database, contents))
            image = (await client.get("/api/v1/images?limit=1")).json()[0]
            reads = {
                "an image": f"/api/v1/images/{image['id']}",
                "a list of 50": "/api/v1/images",
                "a rendition": image["renditions"][0]["url"],
            }
            for name, path in reads.items():
                print_row(name, await _measure_reads(stack, client, path))
            await database.close()


async def _measure_uploads(
    stack: RunningGallery, client: httpx.AsyncClient, database: asyncpg.Connection, contents: list[bytes]
) -> dict[str, float]:
    log, rows, objects = await _wal_bytes(database), await database.fetchval(SIZES), _stored_bytes(stack)
    figures = await _cpu_per_operation(stack, len(contents), lambda: _upload_all(client, contents))
    await asyncio.sleep(1)
    figures["WAL, bytes"] = (await _wal_bytes(database) - log) / len(contents)
    figures["tables, bytes"] = (await database.fetchval(SIZES) - rows) / len(contents)
    figures["objects, bytes"] = (_stored_bytes(stack) - objects) / len(contents)
    return figures


async def _measure_reads(stack: RunningGallery, client: httpx.AsyncClient, path: str) -> dict[str, float]:
    async def read() -> None:
        for _ in range(READS):
            (await client.get(path)).raise_for_status()

    return await _cpu_per_operation(stack, READS, read)


async def _cpu_per_operation(
    stack: RunningGallery, count: int, work: Callable[[], Awaitable[None]]
) -> dict[str, float]:
    """CPU in milliseconds of each part, for one of `count`."""
    before = _cpu_seconds(stack)
    await work()
    after = _cpu_seconds(stack)
    return {f"{part}, ms": (after[part] - before[part]) * 1000 / count for part in PARTS}


async def _upload_all(client: httpx.AsyncClient, contents: list[bytes]) -> None:
    slots = asyncio.Semaphore(4)

    async def send(content: bytes) -> None:
        async with slots:
            await post(client, content)

    async with listen(client, types="image.ready") as events:
        await asyncio.gather(*(send(content) for content in contents))
        for _ in contents:
            await events.next("image.ready", seconds=300)


def _cpu_seconds(stack: RunningGallery) -> dict[str, float]:
    """Seconds of each part and all below it; a renderer lives for hundreds of pictures."""
    seconds = dict.fromkeys(PARTS, 0.0)
    for process in psutil.Process(stack.pid).children(recursive=True):
        line = command_line(process)
        part = next(
            (part for part, words in PARTS.items() if words in line), "worker" if "spawn_main" in line else None
        )
        if part:
            seconds[part] += sum(process.cpu_times()[:2])
    return seconds


async def _wal_bytes(database: asyncpg.Connection) -> int:
    return int(await database.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


def _stored_bytes(stack: RunningGallery) -> int:
    return sum(file.stat().st_size for file in (stack.data / "objects").rglob("*") if file.is_file())


def print_row(name: str, figures: dict[str, float]) -> None:
    if "--json" in sys.argv:
        print(json.dumps({"operation": name, **{part: round(value, 3) for part, value in figures.items()}}))
    else:
        print(f"{name:18}" + "".join(f"{part:>18} {value:8.2f}" for part, value in figures.items()))


if __name__ == "__main__":
    asyncio.run(main())
