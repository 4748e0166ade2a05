"""Power cuts: the order of system calls shows that acknowledged data is on the disk; and the start after a cut."""

import asyncio
import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

import photos
from factories import post, unique_photo, wait_until_settled
from faults.intensity import in_full_only
from gallery.adapters.objects.files import ABANDONED_SECONDS, SPOOL_FOLDER
from gallery_processes import GALLERY, RunningGallery, base_environment, dev, run_gallery
from system_calls import Record, record_process, strace_command


async def upload(url: str, content: bytes) -> str:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        answer = await post(client, content)
        assert answer.status_code == 201
        return str(answer.json()["id"])


async def wait_until_ready(url: str, *images: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for image in images:
            assert (await wait_until_settled(client, image, seconds=60))["status"] == "READY"


@pytest.mark.parametrize("size", ["small", "large"])
async def test_the_bytes_are_on_the_disk_before_the_row_and_the_row_before_the_answer(tmp_path, size):
    """A large upload is received in a file without a name, which is then linked."""
    content = unique_photo() if size == "small" else photos.a_twelve_megapixel_photo() + b"!"
    async with dev(base_environment(), tmp_path) as stack:
        api, worker = stack.find_child("gallery", "serve"), stack.find_child("gallery", "worker")
        async with record_process(api.pid, tmp_path / "api"), record_process(worker.pid, tmp_path / "worker"):
            image = await upload(stack.url, content)
            await wait_until_ready(stack.url, image)
        objects = stack.data / "objects"

    calls = Record((tmp_path / "api").read_text())
    inserted = calls.first("write", "INSERT INTO image (")
    assert calls.check_durable(objects, before=inserted.begin) == [f"original/{image}"]
    assert len(calls.all("linkat", f"original/{image}")) == (1 if size == "large" else 0)
    committed = calls.first("read", inserted.text.partition(",")[0], "SELECT 1", after=inserted.end)
    answered = calls.first("write", "HTTP/1.1 201")
    assert committed.end < answered.begin

    calls = Record((tmp_path / "worker").read_text())
    last = max(call.end for call in calls.all("link", f"{objects}/renditions/{image}/1/"))
    settling = calls.first("write", "UPDATE image", after=last)
    renditions = calls.check_durable(objects, before=settling.begin)
    assert len(renditions) == 6
    assert len(calls.all("fsync", f"<{objects}/renditions/{image}/1>)")) == 1, "one sync for all of them"


async def test_a_backup_is_on_the_disk_before_it_reports_success(tmp_path):
    async with dev(base_environment(), tmp_path) as stack:
        await wait_until_ready(stack.url, await upload(stack.url, unique_photo()))
        environment = {**base_environment(), "GALLERY_DATA_DIR": str(stack.data)}
        command = [*strace_command(tmp_path / "calls"), GALLERY, "backup", "create", tmp_path / "backups", "--json"]
        backup = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        stdout, stderr = await backup.communicate()
        assert backup.returncode == 0, stderr.decode()
    done = json.loads(stdout.splitlines()[-1])
    calls = Record((tmp_path / "calls").read_text())
    reported = calls.first("write", r"\"backup\"")
    names = calls.check_durable(tmp_path / "backups", before=reported.begin)
    assert len(names) >= done["objects"] + 3
    assert names[-1] == f"backups/{done['backup']}/manifest.json"


@in_full_only
async def test_after_a_power_cut_originals_are_whole_and_renditions_are_rendered_again(tmp_path):
    """The disk lost renditions that it had reported as written; unsynced files are cut off or gone."""
    photos_of = {}
    async with dev(base_environment(), tmp_path) as stack:
        for _ in range(4):
            content = unique_photo()
            photos_of[await upload(stack.url, content)] = content
        await wait_until_ready(stack.url, *photos_of)
        stack.find_child("gallery", "worker").suspend()
        content = unique_photo()
        photos_of[await upload(stack.url, content)] = content  # acknowledged, not rendered
        await _kill_all(stack)
    _damage_files(stack.data, [*photos_of])
    async with dev(base_environment(), tmp_path) as stack:
        await wait_until_ready(stack.url, *photos_of)
        async with httpx.AsyncClient(base_url=stack.url, timeout=60) as client:
            for image, content in photos_of.items():
                assert (await client.get(f"/api/v1/images/{image}/original")).content == content
            assert {answer.status_code for answer in await _renditions(client, photos_of)} == {200, 404, 503}
            found = await _verify(stack.data, tmp_path)
            assert {(finding["found"], finding["mended"]) for finding in found} == {
                ("missing-rendition", True),
                ("damaged-rendition", True),
            }
            async with asyncio.timeout(60):
                while {answer.status_code for answer in await _renditions(client, photos_of)} != {200}:
                    await asyncio.sleep(0.2)
            assert await _verify(stack.data, tmp_path) == []
            async with asyncio.timeout(30):
                while list(stack.data.glob(f"objects/original/{SPOOL_FOLDER}/*")):
                    await asyncio.sleep(0.2)


async def _kill_all(stack: RunningGallery) -> None:
    running = [psutil.Process(stack.pid), *psutil.Process(stack.pid).children(recursive=True)]
    for process in running:
        with suppress(psutil.NoSuchProcess):  # it ends with its parent
            process.kill()
    await stack.process.wait()
    await asyncio.to_thread(psutil.wait_procs, running[1:], timeout=10)


def _damage_files(data: Path, images: list[str]) -> None:
    renditions = [sorted((data / "objects" / "renditions" / image / "1").iterdir()) for image in images[:3]]
    for emptied in renditions[0]:
        os.truncate(emptied, 0)
    os.truncate(renditions[1][0], 100)
    shutil.rmtree(renditions[2][0].parent)
    spool = data / "objects" / "original" / SPOOL_FOLDER / "0123456789abcdef"
    spool.write_bytes(unique_photo()[:4096])
    os.utime(spool, (time.time() - ABANDONED_SECONDS - 1,) * 2)
    (data / "run.json").write_bytes(b"")
    shutil.rmtree(data / "valkey")


async def _renditions(client: httpx.AsyncClient, images: dict[str, bytes]) -> list[httpx.Response]:
    views = [(await client.get(f"/api/v1/images/{image}")).json() for image in images]
    return [await client.get(rendition["url"]) for view in views for rendition in view["renditions"]]


async def _verify(data: Path, folder: Path) -> list[dict]:
    environment = {**base_environment(), "GALLERY_DATA_DIR": str(data)}
    async with run_gallery(environment, folder / "verify", "verify", "--bytes", "1", "--json") as command:
        await command.process.wait()
    lines = [json.loads(line) for line in command.log_text().splitlines() if line.startswith('{"found"')]
    return [{"mended": False, **line} for line in lines]
