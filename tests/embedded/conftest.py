"""A data directory for each test, and a check that nothing runs in it afterwards."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest


def running_in(data_dir: Path) -> list[psutil.Process]:
    """The processes with `data_dir` in their command line."""
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if str(data_dir) in " ".join(process.info["cmdline"] or [])]


def kill_all(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # one may end with the one before it
            process.kill()


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """Below a directory of mode 0700, as pytest makes them: as root, the servers need access through it."""
    path = tmp_path / "some data"
    yield path
    for _ in range(100):
        if not running_in(path):
            return
        await asyncio.sleep(0.05)
    left = running_in(path)
    kill_all(left)
    pytest.fail(f"left running: {left}")
