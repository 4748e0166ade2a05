"""A large library by `gallery-client upload`, over a bad network and with a program that is killed: every photo arrives
once, and the next run sends nothing. `make kit-test` takes a thousand photos.
"""

import asyncio
import json
import os
import random
import signal
from pathlib import Path

import pytest

import photos
from clients_proxy import proxy_to
from gallery_client import AsyncGallery

LONG = os.environ.get("KIT") == "yes"
COUNT = 1000 if LONG else 60
KILLS = 8 if LONG else 3


@pytest.fixture
def many(tmp_path) -> Path:
    """Photos in folders, two of them large enough for tus."""
    seed = os.urandom(8)
    for number in range(COUNT):
        folder = tmp_path / "many" / f"{number // 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        content = photos.a_jpeg(64, 48, seed=number % 7, comment=seed + number.to_bytes(4, "big"))
        large = number % (COUNT // 2) == 1
        (folder / f"photo {number:04}.jpg").write_bytes(content + bytes(8_500_000 if large else 0))
    return tmp_path / "many"


async def run_until_killed(start, proxy, many: Path, tag: str, how: signal.Signals) -> int | None:
    """The exit code; `None` if the program was killed, somewhere between two lines or two bytes."""
    process = start("upload", many, "--json", "--tag", tag, url=proxy.url)
    lines = asyncio.create_task(asyncio.to_thread(process.communicate, timeout=300))
    before, stop_after = proxy.sent, random.randint(20_000, 9_000_000)
    while not lines.done() and proxy.sent < before + stop_after:
        await asyncio.sleep(0.02)
    if lines.done():
        return process.returncode
    process.send_signal(how)
    out, _ = await lines
    if how == signal.SIGINT and process.returncode == 130:
        assert json.loads(out.splitlines()[-1]).keys() == {"sent", "skipped", "refused"}
    assert process.returncode in {130, -how}, out
    return None


@pytest.mark.timeout(900)
async def test_a_second_run_sends_nothing(start, stack, many, tag):
    async with proxy_to(stack.url) as proxy:
        proxy.cuts = [random.randint(500, 3_000_000) for _ in range(COUNT // 10)]
        for kill in range(KILLS):
            how = signal.SIGINT if kill % 2 else signal.SIGKILL
            if await run_until_killed(start, proxy, many, tag, how) is not None:
                break
        proxy.cuts = proxy.cuts[:3]
        out, error = await asyncio.to_thread(
            start("upload", many, "--json", "--tag", tag, url=proxy.url).communicate, timeout=600
        )
        summary = json.loads(out.splitlines()[-1])
        assert (summary["sent"] + summary["skipped"], summary["refused"]) == (COUNT, 0), error
        requests = len(proxy.requests)
        out, _ = await asyncio.to_thread(start("upload", many, "--json", url=proxy.url).communicate, timeout=120)
        assert json.loads(out.splitlines()[-1]) == {"sent": 0, "skipped": COUNT, "refused": 0}
        assert {request.split(" ")[1] for request in proxy.requests[requests:]} == {"/api/v1/images/check"}
    async with AsyncGallery(stack.url) as kit:
        found = [image.title async for image in kit.images(tags=[tag], limit=200)]
    assert sorted(found) == sorted(path.stem for path in many.rglob("*.jpg")), "each photo is there, and once"


@pytest.mark.timeout(900)
async def test_two_runs_at_the_same_time_send_each_photo_once(start, stack, many, tag):
    runs = [start("upload", many, "--json", "--tag", tag) for _ in range(3)]
    ends = await asyncio.gather(*(asyncio.to_thread(run.communicate, timeout=600) for run in runs))
    assert [(run.returncode, error) for run, (_, error) in zip(runs, ends, strict=True)] == [(0, "")] * 3
    for out, _ in ends:
        summary = json.loads(out.splitlines()[-1])
        assert (summary["sent"] + summary["skipped"], summary["refused"]) == (COUNT, 0)
    async with AsyncGallery(stack.url) as kit:
        found = [image.title async for image in kit.images(tags=[tag], limit=200)]
    assert len(found) == COUNT
