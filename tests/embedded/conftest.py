"""A data directory of its own for each test, and the certainty that nothing runs in it afterwards."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest


def running_in(data_dir: Path) -> list[psutil.Process]:
    """The processes with `data_dir` in their command line."""
    all_there_are = psutil.process_iter(["cmdline"])
    return [process for process in all_there_are if str(data_dir) in " ".join(process.info["cmdline"] or [])]


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    """Beneath a directory of mode 0700, as pytest makes them: as root, the servers have to get past that."""
    path = tmp_path / "some data"
    yield path
    for _ in range(100):
        if not running_in(path):
            return
        await asyncio.sleep(0.05)
    left = running_in(path)
    for process in left:
        process.kill()
    pytest.fail(f"left running: {left}")
