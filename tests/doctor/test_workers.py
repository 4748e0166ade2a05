"""Dead and frozen workers, found by their heartbeats."""

import asyncio
import os
import signal
import socket

import pytest

from doctor.findings import run_named_checks, verdict
from factories import upload_image
from gallery.cli.doctor import exit_code
from gallery_processes import worker

UNREACHABLE_VALKEY = "redis://127.0.0.1:1/0"


@pytest.fixture
async def send_heartbeat(gallery):
    async def beat(name: str, seconds: float, *, ended: bool = False) -> None:
        """Writes a worker with its last heartbeat so many seconds ago."""
        async with gallery.database.writing() as db:
            await db.execute(
                "INSERT INTO worker (name, version, concurrency, seen_at, ended_at) "
                "VALUES ($1, '1', 2, now() - $2 * interval '1 s', CASE WHEN $3 THEN now() END)",
                *(name, seconds, ended),
            )

    return beat


async def test_a_worker_that_was_stopped_is_an_error_within_thirty_seconds(environment, gallery, tmp_path):
    async with worker(environment, tmp_path / "logs") as process:
        async with asyncio.timeout(10):  # its first heartbeat is sent beside its start
            while (await verdict(environment, "workers"))[0] != "well":
                await asyncio.sleep(0.1)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            await upload_image(gallery)
            async with gallery.database.writing() as db:  # twelve seconds pass; a heartbeat, due in five, would undo it
                await db.execute("UPDATE worker SET seen_at = seen_at - interval '12 s'")
            async with asyncio.timeout(30 - 12):
                while (await verdict(environment, "workers"))[0] == "well":
                    await asyncio.sleep(0.5)
            found = await run_named_checks({**environment, "REDIS_URL": UNREACHABLE_VALKEY}, "workers")
        finally:
            os.kill(process.pid, signal.SIGCONT)
    says, do = found["workers"].says, found["workers"].do
    assert exit_code(list(found.values())) == 1
    assert f"{socket.gethostname()}:{process.pid} sent its last heartbeat" in says
    assert "it is frozen. 1 images are due." in says
    assert f"kill -9 {process.pid}" in do


async def test_images_that_are_due_and_no_worker(environment, gallery, send_heartbeat):
    state, text = await verdict(environment, "workers")
    assert (state, text) == ("notice", "No worker is alive. Start gallery worker: without one, no image becomes READY.")
    await upload_image(gallery)
    await send_heartbeat("pod-1:1", 50, ended=True)
    assert await verdict(environment, "workers") == (
        "wrong",
        "1 images are due, and no worker is alive. Start gallery worker.",
    )


async def test_a_worker_that_died(environment, gallery, send_heartbeat):
    await send_heartbeat("pod-1:1", 50)
    state, text = await verdict(environment, "workers")
    assert (state, "No worker is alive, and 0 images are due. The worker pod-1:1" in text) == ("wrong", True), text
    await send_heartbeat("pod-2:1", 1)
    state, text = await verdict(environment, "workers")
    assert (state, "Check whether its process hangs" in text) == ("wrong", True), text
    async with gallery.database.writing() as db:
        await db.execute("UPDATE worker SET seen_at = now() - interval '30 minutes' WHERE name = 'pod-1:1'")
    state, text = await verdict(environment, "workers")
    assert (state, "1 workers are alive, and 1 died within the last hour." in text) == ("notice", True), text


async def test_a_worker_that_died_on_this_machine_and_was_restarted_is_a_notice(environment, send_heartbeat):
    await send_heartbeat(f"{socket.gethostname()}:{os.getpid()}", 50)  # another program has that pid now
    await send_heartbeat("pod-2:1", 1)
    assert (await verdict(environment, "workers"))[0] == "notice"


async def test_a_fresh_database_has_not_been_swept_yet(environment, gallery):
    assert "No worker has swept yet." in (await verdict(environment, "stuck-images"))[1]
