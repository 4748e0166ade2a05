"""Disks that are full: of who keeps objects in files, and of who receives and renders."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

import photos
from faults.city import City, survives
from faults.load import TLS

SIZE = 24 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of `SIZE` bytes."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o777)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_the_disk_with_the_objects_is_full(city, small_disk):
    city.keep_objects_in(small_disk)

    async def fault(city: City) -> None:
        async with _full(small_disk):
            await asyncio.sleep(0.1)
            await _is_told(city)
            await asyncio.sleep(city.form.away)

    await survives(city, fault)


async def test_the_disk_for_temporary_files_is_full(city, small_disk):
    """Spools of uploads, and the files of renderers."""
    city.environment["TMPDIR"] = str(small_disk)

    async def fault(city: City) -> None:
        await city.load.upload(photos.a_twelve_megapixel_photo() + b"!")  # Python looks for its place at the first use
        async with _full(small_disk):
            await asyncio.sleep(0.1)
            await _is_told(city)
            await asyncio.sleep(city.form.away)
        assert not any(worker.lines("job.failed") for worker in city.workers)

    await survives(city, fault)


@asynccontextmanager
async def _full(disk: Path) -> AsyncIterator[None]:
    """Nothing more fits while the block runs: what others give back is taken at once."""
    weight = disk / "weight"
    taking = asyncio.create_task(_take_all(weight))
    try:
        yield
    finally:
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        weight.unlink()


async def _take_all(weight: Path) -> None:
    with weight.open("wb", buffering=0) as file:
        while True:
            with suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            await asyncio.sleep(0.01)


async def _is_told(city: City) -> None:
    """Who uploads what does not fit is asked to come back, and nothing of it stays."""
    async with httpx.AsyncClient(base_url=city.url, timeout=20, verify=TLS) as client:
        answer = await client.post("/api/v1/images", files={"file": ("a.jpg", photos.a_twelve_megapixel_photo())})
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"]
