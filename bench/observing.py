"""Measures the cost of metrics and traces: the API's CPU for each request, with and without them, alternating.

`python -m bench.observing` compares traces off and on (sent to a collector in this process, every request sampled), and
one API process with two that share metrics. `--against BIN/gallery` adds another version's command, such as the one
before metrics existed; it must use the same schema.

The figure is CPU time of the server's processes. Other work on the machine disturbs it through the caches, so the
lowest tenth of the rounds counts.
"""

import argparse
import asyncio
import statistics
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import psutil

import gallery_processes
import photos
from factories import post
from gallery.embedded.servers import open_servers
from otlp_collector import run_collector

ROUNDS = 100
REQUESTS = 30  # in one round
PATHS = {
    "/livez": "nothing at all",
    "/api/v1/images/{id}": "an image, from the cache",
    "/api/v1/images": "a list of 50",
}


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--against", help="another version's gallery command")
    against = parser.parse_args().against
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gallery-bench-")))
        servers = await stack.enter_async_context(open_servers(folder / "servers"))
        collector = stack.enter_context(run_collector())
        base = {
            **gallery_processes.base_environment(),
            "DATABASE_URL": str(servers.database_url),
            "REDIS_URL": str(servers.redis_url),
            "GALLERY_DATA_DIR": str(folder / "data"),
            "GALLERY_LOGS__LEVEL": "warning",
        }
        kinds = {
            "as it is": {},
            "two processes": {"GALLERY_SERVE__WORKERS": "2"},
            "traced": {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
        }
        apis = {
            name: await stack.enter_async_context(gallery_processes.api(base, folder, **more))
            for name, more in kinds.items()
        }
        if against:
            gallery_processes.GALLERY = Path(against)
            apis["before"] = await stack.enter_async_context(gallery_processes.api(base, folder))
        clients = {
            name: await stack.enter_async_context(httpx.AsyncClient(base_url=api.url, timeout=30))
            for name, api in apis.items()
        }
        image = [(await post(clients["as it is"], photos.a_jpeg(comment=b"%d" % n))).json()["id"] for n in range(50)][
            -1
        ]
        await measure(apis, clients, image)


async def measure(
    apis: dict[str, gallery_processes.RunningGallery], clients: dict[str, httpx.AsyncClient], image: str
) -> None:
    names = list(apis)
    print(f"{'microseconds of CPU a request':32}" + "".join(f"{name:>18}" for name in names))
    for path, title in PATHS.items():
        found: dict[str, list[float]] = {name: [] for name in names}
        for number in range(ROUNDS + 1):
            for name in names if number % 2 else reversed(names):
                spent = await cpu_microseconds(apis[name].pid, clients[name], path.format(id=image))
                if number:  # the first one warms up
                    found[name].append(spent)
        lowest = {name: statistics.quantiles(found[name], n=10)[0] for name in names}
        print(f"{title:32}" + "".join(f"{lowest[name]:18.0f}" for name in names), flush=True)


async def cpu_microseconds(pid: int, client: httpx.AsyncClient, path: str) -> float:
    """The CPU of a process and its children for one request, in microseconds."""
    before = cpu_seconds(pid)
    for _ in range(REQUESTS):
        (await client.get(path)).raise_for_status()
    return (cpu_seconds(pid) - before) / REQUESTS * 1e6


def cpu_seconds(pid: int) -> float:
    """By the scheduler's nanoseconds: `times` counts in hundredths of a second."""
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    tasks = [task for process in family for task in Path(f"/proc/{process}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    asyncio.run(main())
