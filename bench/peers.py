"""Pictures on demand beside other servers of pictures: thumbor (Pillow) and ipx (sharp), on the same files.

    python -m bench.peers --thumbor FOLDER/bin/thumbor --ipx FOLDER/node_modules/.bin/ipx

Both are installed by hand (`pip install thumbor`, `npm install ipx`), since no test needs them. Each server is asked
for the same pictures, each time one that it has not kept. The result goes into bench/results/peers.json.
"""

import argparse
import asyncio
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil
from PIL import Image
from skimage.metrics import structural_similarity

import gallery_processes
import photos
from bench import library, results
from bench.load import cpu_seconds
from bench.results import Result, Table, number
from bench.servers import Servers, Version, running_program

SIDES = (4032, 3024)  # 12 megapixels
LATENCIES, CONNECTIONS, THROUGHPUT = 15, 4, 40  # requests
THUMBOR = """
LOADER = "thumbor.loaders.file_loader"
FILE_LOADER_ROOT_PATH = "{folder}"
ALLOW_UNSAFE_URL = True
STORAGE = "thumbor.storages.no_storage"
"""


class Output(NamedTuple):
    """A picture that all servers can make: sides in pixels, format, quality."""

    width: int
    height: int
    format: str
    quality: int

    def __str__(self) -> str:
        return f"{self.width} × {self.height} {self.format}, q {self.quality}"


OUTPUTS = (Output(800, 600, "webp", 80), Output(400, 400, "jpeg", 82), Output(800, 600, "avif", 50))


class Server(NamedTuple):
    """`url` gives another address of the same picture each time."""

    name: str
    pid: int
    url: Callable[[Output], str]


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers")
    parser.add_argument("--thumbor", type=Path, required=True)
    parser.add_argument("--ipx", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=results.FOLDER)
    given = parser.parse_args()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gallery-bench-")))
        (folder / "files").mkdir()
        original = photos.a_jpeg(*SIDES, seed=1)
        (folder / "files" / "a.jpg").write_bytes(original)
        servers = [
            await stack.enter_async_context(_gallery(folder, stack, original)),
            await stack.enter_async_context(_thumbor(folder, given.thumbor)),
            await stack.enter_async_context(_ipx(folder, given.ipx)),
        ]
        rows = [await _measure(server, output) for output in OUTPUTS for server in servers]
    columns = ["picture", "server", "p50, ms", "a second", "CPU, ms", "memory, MB", "kB", "SSIM"]
    title = "A new picture of a 12-megapixel JPEG: one at a time, and over four connections"
    results.finish(Result(group="peers", tables=[Table(title, columns, rows)]), given.results, None)


async def _measure(server: Server, output: Output) -> list[str]:
    async with httpx.AsyncClient(timeout=60) as client:
        body = await _get(client, server, output)
        times = []
        for _ in range(LATENCIES):
            began = time.perf_counter()
            await _get(client, server, output)
            times.append((time.perf_counter() - began) * 1000)
        before, began = cpu_seconds({"all": server.pid})["all"], time.perf_counter()
        await asyncio.gather(*(_ask(client, server, output) for _ in range(CONNECTIONS)))
        seconds, cpu = time.perf_counter() - began, cpu_seconds({"all": server.pid})["all"] - before
    figures = (statistics.median(times), THROUGHPUT / seconds, cpu * 1000 / THROUGHPUT, _memory(server.pid))
    return [
        str(output),
        server.name,
        *map(number, figures),
        number(len(body) / 1000),
        f"{_similarity(body, output):.4f}",
    ]


async def _ask(client: httpx.AsyncClient, server: Server, output: Output) -> None:
    for _ in range(THROUGHPUT // CONNECTIONS):
        await _get(client, server, output)


async def _get(client: httpx.AsyncClient, server: Server, output: Output) -> bytes:
    answer = (await client.get(server.url(output))).raise_for_status()
    assert answer.headers["content-type"] == f"image/{output.format}", answer.headers["content-type"]
    return answer.content


def _similarity(body: bytes, output: Output) -> float:
    """SSIM of the luminance to the picture shrunk by Pillow's Lanczos filter."""
    picture = Image.open(io.BytesIO(body)).convert("L")
    assert picture.size == (output.width, output.height), picture.size
    original = photos.photo(*SIDES, seed=1)
    scale = max(output.width / SIDES[0], output.height / SIDES[1])
    wide, high = round(SIDES[0] * scale), round(SIDES[1] * scale)
    left, top = (wide - output.width) // 2, (high - output.height) // 2
    ideal = original.resize((wide, high), Image.Resampling.LANCZOS)
    ideal = ideal.crop((left, top, left + output.width, top + output.height)).convert("L")
    return float(structural_similarity(np.asarray(picture), np.asarray(ideal)))


def _memory(pid: int) -> float:
    """Megabytes of the process and those below it, each shared page counted once."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 1e6


@asynccontextmanager
async def _gallery(folder: Path, stack: AsyncExitStack, original: bytes) -> AsyncIterator[Server]:
    version = Version("gallery", {})
    servers = Servers(folder, stack, [version], None, rounds=1)
    await servers.start()
    [image] = await library.fill(servers, version, [original])
    numbers = _numbers()
    async with servers.api(version, GALLERY_PICTURES__BUDGET="100000", GALLERY_PICTURES__CONCURRENCY="2") as api:

        def url(o: Output) -> str:
            size = f"w={o.width}&h={o.height}&fit=cover&focus=0.5,{0.5 + next(numbers):.6f}"
            query = f"{size}&format={o.format}&q={o.quality}"
            return f"http://127.0.0.1:{api.port}/api/v1/images/{image['id']}/picture?{query}"

        yield Server("Gallery", api.processes["API"], url)


def _numbers() -> Iterator[float]:
    """Too small to move a pixel, so that each picture is new and the same."""
    return (n / 1_000_000 for n in itertools.count(1))


@asynccontextmanager
async def _thumbor(folder: Path, program: Path) -> AsyncIterator[Server]:
    configuration, port = folder / "thumbor.conf", gallery_processes.free_port()
    configuration.write_text(THUMBOR.format(folder=folder / "files"))
    async with running_program(
        program, "--conf", configuration, "--port", port, "--ip", "127.0.0.1", "--processes", 2
    ) as pid:
        base = f"http://127.0.0.1:{port}"
        await _wait_for(f"{base}/healthcheck")

        def url(o: Output) -> str:
            return f"{base}/unsafe/{o.width}x{o.height}/filters:format({o.format}):quality({o.quality})/a.jpg"

        yield Server("thumbor", pid, url)


@asynccontextmanager
async def _ipx(folder: Path, program: Path) -> AsyncIterator[Server]:
    port = gallery_processes.free_port()
    async with running_program(
        program, "serve", "--dir", folder / "files", "--port", port, "--host", "127.0.0.1"
    ) as pid:
        base = f"http://127.0.0.1:{port}"
        await _wait_for(f"{base}/w_10/a.jpg")

        def url(o: Output) -> str:
            return f"{base}/fit_cover,s_{o.width}x{o.height},f_{o.format},q_{o.quality}/a.jpg"

        yield Server("ipx", pid, url)


async def _wait_for(url: str) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            try:
                (await client.get(url)).raise_for_status()
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
            else:
                return


if __name__ == "__main__":
    asyncio.run(main())
