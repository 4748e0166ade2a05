"""Full disks: the one with the objects, and the one for temporary files."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

import photos
from faults.deployment import Deployment, check_survives
from http_clients import TLS_CONTEXT

DISK_BYTES = 24 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `DISK_BYTES` bytes."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o777)
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_the_disk_with_the_objects_is_full(deployment, small_disk):
    deployment.use_file_store(small_disk)

    async def fault(deployment: Deployment) -> None:
        async with _full_disk(small_disk):
            await asyncio.sleep(0.1)
            await _check_refused(deployment)
            await asyncio.sleep(deployment.intensity.outage_seconds)

    await check_survives(deployment, fault)


async def test_the_disk_for_temporary_files_is_full(deployment, small_disk):
    """Spools of uploads, and the files of renderers."""
    deployment.environment["TMPDIR"] = str(small_disk)

    async def fault(deployment: Deployment) -> None:
        await deployment.load.upload(
            photos.a_twelve_megapixel_photo() + b"!"
        )  # Python finds its temporary directory at the first use
        async with _full_disk(small_disk):
            await asyncio.sleep(0.1)
            await _check_refused(deployment)
            await asyncio.sleep(deployment.intensity.outage_seconds)
        assert not any(worker.log_lines("job.failed") for worker in deployment.workers)

    await check_survives(deployment, fault)


@asynccontextmanager
async def _full_disk(folder: Path) -> AsyncIterator[None]:
    """Keep the disk full while the block runs: space that is freed is filled at once."""
    filler = folder / "filler"
    filling = asyncio.create_task(_fill_forever(filler))
    try:
        yield
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
        filler.unlink()


async def _fill_forever(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        while True:
            with suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            await asyncio.sleep(0.01)


async def _check_refused(deployment: Deployment) -> None:
    """An upload that does not fit is refused with `Retry-After`."""
    async with httpx.AsyncClient(base_url=deployment.url, timeout=20, verify=TLS_CONTEXT) as client:
        answer = await client.post("/api/v1/images", files={"file": ("a.jpg", photos.a_twelve_megapixel_photo())})
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"]
