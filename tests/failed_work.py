"""Failed images and failed jobs, for the tests of operators' views."""

import asyncio

import photos
from factories import upload_image
from gallery.images.jobs import PROCESS_JOB
from gallery.images.model import ImageId
from gallery.jobs.queue import Job
from gallery.jobs.worker import consume_jobs
from gallery.processing.service import Processing
from gallery.settings import Settings
from gallery.wiring import Gallery


async def fail_images(gallery: Gallery, processing: Processing, *titles: str) -> list[ImageId]:
    """Uploads truncated pictures and processes them, so that they are FAILED."""
    images = [
        await upload_image(gallery, photos.a_jpeg(400, 300, comment=title.encode())[:2000], title=title)
        for title in titles
    ]
    for image in images:
        await processing.process(image.id)
    return [image.id for image in images]


async def fail_jobs(gallery: Gallery, settings: Settings, *subjects: str) -> None:
    """Adds jobs and runs them with a handler that raises, so that they fail."""

    async def broken(subject: str) -> None:
        raise ZeroDivisionError(f"{subject} by nothing")

    wanted = subjects or ("nothing",)
    await gallery.queue.enqueue_all([Job(PROCESS_JOB, subject, priority=7) for subject in wanted])
    async with consume_jobs(settings.redis, {PROCESS_JOB: broken}, 1, "worker"), asyncio.timeout(15):
        while (await gallery.queue.counts("failed"))["failed"] < len(wanted):
            await asyncio.sleep(0.02)
