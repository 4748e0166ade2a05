"""`make bench`: measures uploads and reads on this machine with the real processes (`gallery dev`), in one run.

Prints a line for each figure, as JSON with `--json`. Compare figures of one run, or runs on one idle machine: absolute
times on a shared machine are not reliable.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import photos
from factories import listen, post
from gallery_processes import RunningGallery, base_environment, dev

ROUNDS = 5
PHOTOS = 200
READS = 500


async def main() -> None:
    figures: dict[str, float] = {}
    environment = base_environment() | {"GALLERY_LOGS__LEVEL": "warning"}
    with tempfile.TemporaryDirectory(prefix="gallery-bench-") as folder:
        began = time.perf_counter()
        async with dev(environment, Path(folder)):
            figures["first start, s"] = time.perf_counter() - began
        began = time.perf_counter()
        async with dev(environment, Path(folder)) as stack:
            figures["second start, s"] = time.perf_counter() - began
            async with httpx.AsyncClient(base_url=stack.url, timeout=60) as client:
                await asyncio.sleep(2)
                figures["idle memory (PSS), MB"] = memory_mb(stack)
                await one_at_a_time(client, figures)
                await many_at_once(client, figures)
                await reads(client, figures)
                figures["memory after (PSS), MB"] = memory_mb(stack)
    for name, figure in figures.items():
        print(json.dumps({name: round(figure, 4)}) if "--json" in sys.argv else f"{name:48} {figure:10.3f}")


async def one_at_a_time(client: httpx.AsyncClient, figures: dict[str, float]) -> None:
    """From the first byte of the request to the event: a 12-megapixel photo on an idle machine."""
    times = []
    async with listen(client) as events:
        for seed in range(ROUNDS + 1):
            photo = photos.a_jpeg(width=4032, height=3024, seed=seed)
            began = time.perf_counter()
            await post(client, photo)
            await events.next("image.ready")
            times.append(time.perf_counter() - began)
    figures["12 MP photo, upload to READY, first, s"] = times[0]
    figures["12 MP photo, upload to READY, median, s"] = statistics.median(times[1:])


async def many_at_once(client: httpx.AsyncClient, figures: dict[str, float]) -> None:
    contents = photos.distinct_photos(PHOTOS, width=1600, height=1200)
    slots = asyncio.Semaphore(20)

    async def send(content: bytes) -> None:
        async with slots:
            await post(client, content)

    async with listen(client, types="image.ready") as events:
        began = time.perf_counter()
        await asyncio.gather(*(send(content) for content in contents))
        figures[f"{PHOTOS} photos of 2 MP, all answered, s"] = time.perf_counter() - began
        for _ in contents:
            await events.next("image.ready", seconds=300)
        figures[f"{PHOTOS} photos of 2 MP, all READY, s"] = time.perf_counter() - began


async def reads(client: httpx.AsyncClient, figures: dict[str, float]) -> None:
    image = (await client.get("/api/v1/images?limit=1")).json()[0]
    urls = {
        "get": f"/api/v1/images/{image['id']}",
        "list of 50": "/api/v1/images",
        "rendition": image["renditions"][0]["url"],
    }
    for name, url in urls.items():
        times = sorted([await timed(lambda url=url: client.get(url)) for _ in range(READS)])
        figures[f"{name}, median, ms"] = times[READS // 2] * 1000
        figures[f"{name}, p99, ms"] = times[READS * 99 // 100] * 1000


async def timed(call: Callable[[], Awaitable[httpx.Response]]) -> float:
    began = time.perf_counter()
    (await call()).raise_for_status()
    return time.perf_counter() - began


def memory_mb(stack: RunningGallery) -> float:
    root = psutil.Process(stack.pid)
    return sum(p.memory_full_info().pss for p in [root, *root.children(recursive=True)]) / 1e6


if __name__ == "__main__":
    asyncio.run(main())
