"""Large uploads in several requests: many at once in little memory, and through cut connections and killed processes.

In full by `FAULTS=long`: it moves eight gigabytes, and a thousand photos.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

import photos
import tus_requests as tus
from browser_senders import BrowserFile, a_page
from browser_senders import send as send_by_page
from factories import post
from faults.balancer import HAPROXY, balancer
from faults.leftovers import check_nothing_left
from faults.load import Load
from faults.part_load import PART_BYTES, Sender, padded
from faults.proxy import Proxy
from gallery_processes import RunningProcess, api, free_port, run_gallery, wait_until_ready, worker
from process_resources import temporary_bytes, watched

MIB = 1024 * 1024
IN_FULL = os.environ.get("FAULTS") == "long"
CONCURRENCY, SIZE = (32, 256 * MIB) if IN_FULL else (8, 40 * MIB)
MAX_MORE_MEMORY = 64 * MIB
PHOTOS, PHOTO_BYTES = (1000, 200_000) if IN_FULL else (40, 200_000)
BROWSER_PHOTOS, BROWSER_BYTES = (52, 2_000_000) if IN_FULL else (5, 200_000)
LARGE_PHOTOS, LARGE_BYTES = (8, 60_000_000) if IN_FULL else (1, 30_000_000)
CUTS, KILLS = (10, 5) if IN_FULL else (4, 2)
CHUNK = 64 * 1024
CLIENTS = 8  # of the story, at the same time
STORES = ["files", "s3"]
END_HOLDS = "UPDATE upload SET held_until = now() WHERE holder IS NOT NULL"
STATUSES = "SELECT id::text, sha256, status FROM image WHERE deleted_at IS NULL"

pytestmark = pytest.mark.timeout(3600 if IN_FULL else 300)


@pytest.fixture
def store_environment(request, environment):
    """An environment for large files, with the objects in files or in S3."""
    more = {"GALLERY_UPLOAD__MAX_BYTES": str(SIZE), "GALLERY_RATE__ENABLED": "false"}
    if request.param == "s3":
        more |= request.getfixturevalue("s3") | {"S3_BUCKET": environment["GALLERY_REDIS__PREFIX"] + "-large"}
    return environment | more


# --- memory and disk --------------------------------------------------------------------------------------------------


async def a_large_photo(number: int, offset: int) -> AsyncIterator[bytes]:
    """A file from its `offset`, made while it is sent, so that 32 of them do not fill the test's memory."""
    photo, block = photos.a_jpeg(64, 48) + number.to_bytes(4, "big"), bytes(CHUNK)
    photo = photo[offset:]
    yield photo
    for begin in range(offset + len(photo), SIZE, CHUNK):
        yield block[: SIZE - begin]


async def send(url: str, number: int) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=1800 if IN_FULL else 120) as client:
        path, offset = await tus.created(client, SIZE), 0
        while offset < SIZE:
            length = {"Content-Length": str(SIZE - offset)}
            answer = await tus.patch(client, path, offset, a_large_photo(number, offset), length)
            assert answer.status_code in (204, 503), answer.text  # a slow machine's store may not answer in time
            offset = int((await tus.head(client, path)).headers["Upload-Offset"])


@pytest.mark.parametrize("store_environment", STORES, indirect=True)
async def test_many_large_uploads_at_once_take_little_memory_and_one_part_of_disk_each(store_environment, tmp_path):
    async with (
        api(store_environment, tmp_path) as server,
        httpx.AsyncClient(base_url=server.url, timeout=60) as client,
    ):
        for seed in range(8):
            assert (await post(client, photos.a_jpeg(seed=seed))).status_code == 201
        await tus.send(client, photos.a_jpeg(seed=9) + bytes(PART_BYTES))  # the first use of S3 loads its library
        async with watched(server.pid) as peak:
            await asyncio.gather(*(send(server.url, number) for number in range(CONCURRENCY)))
        print(f"{CONCURRENCY} uploads of {SIZE // MIB} MiB: {peak}")  # noqa: T201  pytest shows it on demand
        assert peak.memory < MAX_MORE_MEMORY
        assert 0 < peak.temporary_files <= CONCURRENCY * PART_BYTES
    await check_nothing_left(store_environment)


# --- cut connections and killed processes -----------------------------------------------------------------------------


@pytest.mark.parametrize("store_environment", STORES if IN_FULL else ["files"], indirect=True)
async def test_photos_arrive_once_through_cut_connections_and_killed_processes(store_environment, tmp_path):
    """By scripts, half of them with tus and half direct, and at the same time by a page in a browser."""
    port = str(free_port())
    async with (
        AsyncExitStack() as stack,
        worker(store_environment, tmp_path),
        Proxy(f"http://127.0.0.1:{port}") as proxy,
    ):
        processes = Processes(store_environment, tmp_path, port, stack)
        await processes.start()
        scripts, pages, paths = make_files(proxy.url, tmp_path)
        async with a_page(proxy.url, tmp_path) as page, asyncio.TaskGroup() as tasks:
            tasks.create_task(disturb([*scripts, *pages], proxy, processes))
            by_script = tasks.create_task(send_all(scripts))
            by_page = tasks.create_task(send_by_page(page, proxy.url, pages, paths, PART_BYTES))
        images = by_script.result() | {pages[number]: image for number, image in by_page.result().items()}
        assert len(set(images.values())) == len(scripts) + len(pages), "none is missing, and none is there twice"
        await check_ready(store_environment, images)
        check_sent_again(scripts, "scripts")
        check_sent_again(pages, "a browser")
        await check_nothing_left(store_environment)


def check_sent_again(files: list[Sender] | list[BrowserFile], name: str) -> None:
    lost = [file for file in files if file.sent_again]
    assert lost, f"nothing of {name} was cut"
    worst = max(file.lost_at_once for file in lost)
    assert worst <= PART_BYTES
    again = sum(file.sent_again for file in lost)
    print(  # noqa: T201  pytest shows it on demand
        f"{name}: {len(lost)} of {len(files)} files were interrupted; {again / 1e6:.1f} MB sent again, "
        f"{worst / 1e6:.2f} MB at most for one break"
    )


class Processes:
    """The API, which is killed and started again on its port."""

    def __init__(self, environment, folder, port, stack) -> None:
        self.environment, self._folder, self._port, self._stack = environment, folder, port, stack

    async def start(self) -> None:
        self._api = await self._stack.enter_async_context(api(self.environment, self._folder, PORT=self._port))

    async def kill_and_start(self) -> None:
        await self._api.stop(signal.SIGKILL)
        await self.start()
        await end_holds(self.environment)


def make_files(url: str, folder: Path) -> tuple[list[Sender], list[BrowserFile], list[Path]]:
    """Those of the scripts, and those of the page with their paths."""
    load = Load(url)
    scripts = [Sender(url, padded(load, PHOTO_BYTES + number), chunk=CHUNK) for number in range(PHOTOS)]
    sizes = [LARGE_BYTES] * LARGE_PHOTOS + [BROWSER_BYTES + number for number in range(BROWSER_PHOTOS)]
    random.shuffle(sizes)
    pages, paths = [], []
    for number, size in enumerate(sizes):
        content, path = padded(load, size), folder / f"{number}.jpg"
        path.write_bytes(content)
        pages.append(BrowserFile(content))
        paths.append(path)
    return scripts, pages, paths


async def send_all(senders: list[Sender]) -> dict[Any, str]:
    """The image of each. Every second client sends directly."""
    images: dict[Sender, str] = {}
    waiting = iter(enumerate(random.sample(senders, len(senders))))

    async def client() -> None:
        for number, sender in waiting:
            images[sender] = await (sender.send_direct() if number % 2 else sender.send_by_tus())

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(client())
    return images


async def disturb(files: list[Sender | BrowserFile], proxy: Proxy, processes: Processes) -> None:
    """Two cuts, a kill, two cuts and so on, spread over the bytes that are to be sent."""
    total, events = sum(file.size for file in files), CUTS + KILLS
    for number in range(events):
        while sum(file.sent for file in files) < total * (number + 1) / (events + 1):
            await asyncio.sleep(0.005)
        if number % 3 == 2:
            await processes.kill_and_start()
        else:
            proxy.reset_connections()


async def check_ready(environment: dict[str, str], images: dict[Any, str]) -> None:
    """All are READY with the bytes that were sent, and there are no others."""
    expected = {(image, file.sha256, "READY") for file, image in images.items()}
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        async with asyncio.timeout(900 if IN_FULL else 90):
            while {tuple(row) for row in await connection.fetch(STATUSES)} != expected:
                await asyncio.sleep(0.2)
    finally:
        await connection.close()


async def end_holds(environment: dict[str, str]) -> None:
    """Let the six seconds pass for which a dead process still holds its uploads; in full they pass by themselves."""
    if IN_FULL:
        return
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        await connection.execute(END_HOLDS)
    finally:
        await connection.close()


# --- a load balancer --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(HAPROXY is None, reason="HAProxy is missing: install haproxy.")
async def test_an_upload_behind_a_balancer_ends_at_another_instance(environment, s3, tmp_path):
    hosts = ("127.0.0.2", "127.0.0.3")
    given = environment | s3 | {"S3_BUCKET": environment["GALLERY_REDIS__PREFIX"] + "-balanced"}
    given |= {"GALLERY_UPLOAD__MAX_BYTES": str(SIZE), "GALLERY_PROXIES": "127.0.0.1", "PORT": str(free_port())}
    async with balancer(hosts, int(given["PORT"]), tmp_path) as front, AsyncExitStack() as stack:
        instances: list[RunningProcess] = []
        for host in hosts:
            running = run_gallery({**given, "GALLERY_HOST": host}, tmp_path / "logs", "serve")
            instances.append(await stack.enter_async_context(running))
            await wait_until_ready(f"http://{host}:{given['PORT']}", instances[-1])
        await front.wait_for_servers(len(hosts))
        content = padded(Load(front.url), 20 * MIB)
        sender = Sender(front.url, content, pause_at=11 * MIB)
        sending = asyncio.create_task(sender.send_by_tus())
        await sender.paused.wait()
        first = await holder_of_the_upload(instances)
        await first.stop(signal.SIGKILL)
        await end_holds(given)
        sender.go_on.set()
        image = await sending
        [other] = [each for each in instances if each is not first]
        assert other.log_lines("image.uploaded")[-1]["image"] == image
        assert sender.sent_again <= PART_BYTES
        async with httpx.AsyncClient(base_url=front.url, timeout=30) as client:
            assert (await client.get(f"/api/v1/images/{image}/original")).content == content


async def holder_of_the_upload(instances: list[RunningProcess]) -> RunningProcess:
    """The instance with a part in its hands, three MiB of the second one."""
    async with asyncio.timeout(30):
        while True:
            for each in instances:
                if temporary_bytes(each.pid) == 3 * MIB:
                    return each
            await asyncio.sleep(0.05)
