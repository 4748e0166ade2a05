"""A worker that is stopped gives back its images at once, also those that wait for its renderer."""

import asyncio
import signal

import psutil

import photos
from factories import CALLER, upload_image
from gallery.images.model import Status
from gallery.processing.service import max_attempts
from gallery_processes import command_line, worker

NO_LEASE_ENDS = {  # within a test, and no sweep finds an image either
    "GALLERY_WORKER__CONCURRENCY": "1",
    "GALLERY_WORKER__LEASE": "3600",
    "GALLERY_WORKER__SWEEP_EVERY": "3600",
    "GALLERY_WORKER__DEADLINE": "3600",
}
CLAIMED = "SELECT count(*) FROM image WHERE work_state = 'claimed' AND lease_until > now() AND worker LIKE '%:' || $1"
DUE_NOW = """
    SELECT count(*) FROM image
    WHERE status = 'PENDING' AND work_state = 'due' AND next_attempt_at <= now() AND lease_until IS NULL
      AND (strikes, losses, deferrals) = (0, 0, 0)
"""


async def test_a_stopped_worker_gives_back_all_its_images(gallery, environment, tmp_path):
    """It makes as many attempts as it may while its renderer is frozen."""
    given = {**environment, **NO_LEASE_ENDS}
    async with worker(given, tmp_path / "logs") as first:
        await wait_until_ready(gallery, await upload(gallery, 1))
        renderer = find_renderer(first)
        renderer.suspend()
        images = await upload(gallery, max_attempts(1) + 2)
        await wait_for_count(gallery, max_attempts(1), CLAIMED, str(first.pid))
        first.process.send_signal(signal.SIGTERM)
        await wait_for_count(gallery, len(images), DUE_NOW)
        renderer.resume()
        assert await first.stop(0) == 0
    attempts = [(await gallery.images.get(CALLER, image)).attempt for image in images]
    assert sorted(attempts) == [0, 0, 1, 1, 1]
    assert "image.strike" not in first.log_text()
    assert "Traceback" not in first.log_text()
    async with worker(given, tmp_path / "logs"):
        await wait_until_ready(gallery, images)


async def test_a_worker_stopped_while_it_renders_causes_no_strike(gallery, environment, tmp_path):
    given = {**environment, **NO_LEASE_ENDS}
    async with worker(given, tmp_path / "logs") as first:
        image = (await upload_image(gallery, photos.a_twelve_megapixel_photo())).id
        await wait_for_count(gallery, 1, CLAIMED, str(first.pid))
        assert await first.stop() == 0
    await wait_for_count(gallery, 1, DUE_NOW)
    assert "image.strike" not in first.log_text()
    assert "Traceback" not in first.log_text()
    async with worker(given, tmp_path / "logs"):
        await wait_until_ready(gallery, [image])


async def upload(gallery, number):
    return [(await upload_image(gallery)).id for _ in range(number)]


def find_renderer(running):
    """The worker's only renderer, which is running: it has been needed."""
    children = psutil.Process(running.pid).children(recursive=True)
    (renderer,) = [child for child in children if "spawn_main" in command_line(child)]
    return renderer


async def wait_until_ready(gallery, images):
    async with asyncio.timeout(60):
        while {(await gallery.images.get(CALLER, image)).status for image in images} != {Status.READY}:
            await asyncio.sleep(0.02)


async def wait_for_count(gallery, number, statement, *arguments):
    async with asyncio.timeout(60):
        while True:
            async with gallery.database.primary() as db:
                if await db.fetchval(statement, *arguments) == number:
                    return
            await asyncio.sleep(0.02)
