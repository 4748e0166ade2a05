"""The renderer pool: a crash costs one job only."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest
from pebble import ProcessPool

from child_functions import MEMORY_BYTES, die, exhaust_memory, raise_damaged
from gallery.errors import (
    CannotStart,
    DamagedPicture,
    RendererCrashed,
    RendererOutOfMemory,
    RendererTimedOut,
    RendererUnavailable,
)
from gallery.renderers.pool import RendererPool, open_renderers
from gallery_processes import base_environment, command_line

PROGRAM = """
import asyncio
import sys
from pathlib import Path

from gallery.__main__ import main  # as the program that pip writes

if __name__ == "__main__":
    from child_functions import MEMORY_BYTES, loaded_packages
    from gallery.renderers.pool import open_renderers

    folder = Path(sys.argv[1])
    with open_renderers(1, deadline=20, memory=MEMORY_BYTES, scratch=folder, denied=folder / "data") as pool:
        print(*asyncio.run(pool.run(loaded_packages)))
"""


@pytest.fixture
def pool(tmp_path):
    with open_renderers(2, deadline=2, memory=MEMORY_BYTES, scratch=tmp_path, denied=tmp_path / "data") as pool:
        yield pool


def children():
    return [c for c in psutil.Process().children(recursive=True) if "spawn_main" in command_line(c)]


def test_without_an_installed_distribution_the_error_explains_it(tmp_path, monkeypatch):
    monkeypatch.setattr("gallery.renderers.pool.DISTRIBUTION", "gallery-that-is-not-installed")
    with (
        pytest.raises(CannotStart, match="is not installed for this Python"),
        open_renderers(1, deadline=2, memory=MEMORY_BYTES, scratch=tmp_path, denied=tmp_path),
    ):
        pass


async def test_work_runs_in_another_process(pool):
    assert await pool.run(os.getpid) != os.getpid()


def test_a_child_of_the_installed_program_loads_no_more_than_it_renders_with(tmp_path):
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    environment = {**base_environment(), "PYTHONPATH": str(Path(__file__).parents[1])}
    arguments = [sys.executable, program, tmp_path]
    answer = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(answer.stdout.split())
    assert {"gallery", "pebble"} <= loaded
    assert not loaded & {"litestar", "httpx", "redis", "rich", "structlog", "typer"}


async def test_an_error_of_a_child_keeps_its_facts(pool):
    with pytest.raises(DamagedPicture) as raised:
        await pool.run(raise_damaged)
    assert raised.value.facts == {"reason": "bits"}


async def test_a_crash_costs_only_itself(pool):
    crash, sleep = asyncio.ensure_future(pool.run(die)), asyncio.ensure_future(pool.run(time.sleep, 0.5))
    with pytest.raises(RendererCrashed):
        await crash
    assert await sleep is None
    assert await pool.run(abs, -1) == 1


async def test_work_that_hangs_is_killed(pool):
    with pytest.raises(RendererTimedOut) as late:
        await pool.run(time.sleep, 60)
    assert late.value.message().endswith(" seconds (GALLERY_WORKER__DEADLINE).")
    assert await pool.run(abs, -1) == 1


async def test_work_that_eats_memory_is_stopped(pool):
    with pytest.raises(RendererOutOfMemory) as lack:
        await pool.run(exhaust_memory)
    assert lack.value.message().endswith(
        f"A renderer has {MEMORY_BYTES:,} bytes (GALLERY_WORKER__MEMORY={MEMORY_BYTES})."
    )
    assert await pool.run(abs, -1) == 1


async def test_killed_idle_children_are_replaced(pool):
    for _ in range(5):
        await asyncio.gather(pool.run(time.sleep, 0.1), pool.run(time.sleep, 0.1))
        for child in children():
            child.kill()
        assert await pool.run(abs, -1) == 1
    async with asyncio.timeout(10):
        while len(children()) > 2:
            await asyncio.sleep(0.05)


async def test_a_job_that_the_pool_has_lost_is_given_to_another_pool(monkeypatch):
    monkeypatch.setattr("gallery.renderers.pool.START_SECONDS", 0.5)

    class LosesItsJobs(ProcessPool):
        def schedule(self, *_, **__):
            return Future()

    pools = iter([LosesItsJobs(max_workers=1), ProcessPool(max_workers=1)])
    pool = RendererPool(lambda: next(pools), size=1, deadline=0.5, memory=256 << 20)
    try:
        assert await pool.run(abs, -1) == 1
    finally:
        await asyncio.to_thread(pool.close)


async def test_pools_that_all_fail_are_no_strike():
    """As on a machine that can start no more processes: the picture is tried again later."""

    def make() -> ProcessPool:
        stopped = ProcessPool(max_workers=1)
        stopped.stop()
        stopped.join()
        return stopped

    pool = RendererPool(make, size=1, deadline=5, memory=256 << 20)
    with pytest.raises(RendererUnavailable):
        await pool.run(os.getpid)


async def test_cancelled_work_is_killed(pool):
    await asyncio.gather(pool.run(time.sleep, 0.1), pool.run(time.sleep, 0.1))
    work = asyncio.ensure_future(pool.run(time.sleep, 1.5))
    await asyncio.sleep(0.2)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    began = time.monotonic()
    await asyncio.gather(pool.run(abs, -1), pool.run(abs, -2))
    assert time.monotonic() - began < 1.2


async def test_children_ignore_ctrl_c(pool):
    work = asyncio.ensure_future(pool.run(time.sleep, 0.8))
    await asyncio.sleep(0.5)
    for child in children():
        child.send_signal(signal.SIGINT)
    assert await work is None
