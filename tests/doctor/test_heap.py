"""The report of a process's largest Python objects, on request and private."""

import asyncio
import os
from pathlib import Path

import msgspec
import pytest

from gallery.ops import heap
from gallery_processes import api


@pytest.fixture
async def heap_file(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asyncio.get_running_loop().add_signal_handler(heap.SIGNAL, heap.handle_signal)
    yield tmp_path / f"gallery-heap-{os.getpid()}.json"
    asyncio.get_running_loop().remove_signal_handler(heap.SIGNAL)


async def test_the_largest_objects_are_reported_by_type_and_size_without_their_contents(heap_file):
    photos = {"held": b"secret" * 10_000_000}
    found = await heap.request_report(os.getpid())
    assert (found.largest[0].type, found.largest[0].count) == ("bytes", len(photos["held"]))
    assert found.largest[0].bytes >= len(photos["held"])
    assert found.types[0].type == "bytes"
    assert found.objects > 10_000
    assert not heap_file.exists()


async def test_objects_held_only_by_a_running_coroutine_are_reported_too(heap_file):
    async def write():
        heap.write_report()

    photos = {"held": b"secret" * 10_000_000}
    await write()
    assert msgspec.json.decode(heap_file.read_bytes(), type=heap.HeapReport).largest[0].count == len(photos["held"])


async def test_the_report_is_private_and_follows_no_link(heap_file):
    victim = heap_file.with_name("victim")
    victim.write_text("mine")
    heap_file.symlink_to(victim)
    heap.write_report()
    assert victim.read_text() == "mine"
    assert not heap_file.is_symlink()
    assert heap_file.stat().st_mode & 0o777 == 0o600


async def test_a_process_that_the_signal_would_end_gets_none():
    process = await asyncio.create_subprocess_exec("sleep", "60")
    with pytest.raises(ValueError, match="cannot report its memory: choose a gallery serve"):
        await heap.request_report(process.pid)
    assert process.returncode is None
    process.kill()
    await process.wait()
    with pytest.raises(ValueError, match="does not exist"):
        await heap.request_report(process.pid)


async def test_a_serving_process_reports(environment, tmp_path):
    async with api(environment, tmp_path / "logs") as server:
        found = await heap.request_report(server.pid)
        assert (found.pid, found.bytes > 10_000_000) == (server.pid, True)
        await server.wait_for_event("heap.written")
    assert not Path(f"/tmp/gallery-heap-{server.pid}.json").exists()
