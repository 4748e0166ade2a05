"""Jobs for images and their priorities.

All jobs of a lane come before those of the next lane. Within a lane, the first image of every owner comes before the
second of any owner: an image keeps the position that it had among its owner's waiting images when it was added.
"""

from datetime import timedelta

import structlog

from gallery.adapters.postgres.database import Database
from gallery.errors import DatabaseUnavailable, ValkeyUnavailable
from gallery.images import store
from gallery.images.model import Image, ImageId, Lane
from gallery.images.store import MAX_QUEUE_POSITION
from gallery.jobs.queue import Job, Queue

log = structlog.get_logger(__name__)

PROCESS_JOB = "process"
DELAYED_KEY = -1  # deduplication key of jobs that only come back later
AHEAD_KEY = -2  # of jobs for images that have waited too long
HIGHEST_PRIORITY = 1
LANE_OFFSETS = {
    Lane.INTERACTIVE: 0,
    Lane.BULK: MAX_QUEUE_POSITION,
    Lane.MAINTENANCE: 2 * MAX_QUEUE_POSITION,
}  # BullMQ counts to 2,097,152


def priority(lane: Lane, queue_position: int) -> int:
    """BullMQ's priority: a lower number is taken sooner."""
    return LANE_OFFSETS[lane] + min(queue_position, MAX_QUEUE_POSITION)


def priority_range(lane: Lane) -> tuple[int, int]:
    """The first and the last priority of a lane. The first is also that of images that have waited too long."""
    return LANE_OFFSETS[lane] + 1, LANE_OFFSETS[lane] + MAX_QUEUE_POSITION


def job_for(image: Image, delay: timedelta = timedelta()) -> Job:
    """The job for the next attempt. The key differs for each attempt, so a retry is no duplicate of the job before."""
    return Job(
        PROCESS_JOB, image.id, dedup_key=image.attempt, delay=delay, priority=priority(image.lane, image.queue_position)
    )


def job_later(image: ImageId, delay: timedelta) -> Job:
    """For an image that is not due yet, or that another worker has claimed."""
    return Job(PROCESS_JOB, image, dedup_key=DELAYED_KEY, delay=delay, priority=HIGHEST_PRIORITY)


def repeat_job(image: ImageId, attempt: int, lane: Lane, queue_position: int) -> Job:
    """For an image whose job may be lost or may still wait: a second one of the same priority, and never a third."""
    return Job(PROCESS_JOB, image, dedup_key=attempt, priority=priority(lane, queue_position), unique=True)


def job_ahead(image: ImageId) -> Job:
    """For an image that has waited too long: before all others."""
    return Job(PROCESS_JOB, image, dedup_key=AHEAD_KEY, priority=HIGHEST_PRIORITY, unique=True)


async def enqueue(queue: Queue, database: Database, job: Job) -> None:
    """Add the job. If Valkey is unavailable, mark the row, so that the sweep adds it as soon as Valkey is back."""
    try:
        await queue.enqueue(job)
    except ValkeyUnavailable as error:
        log.warning("image.not_rung", image=job.subject, error=str(error))
        try:
            async with database.writing() as db:
                await store.mark_not_enqueued(db, ImageId(job.subject))
        except DatabaseUnavailable as unavailable:  # then the sweep finds the image later, by the time that it waits
            log.warning("image.not_rung", image=job.subject, error=str(unavailable))
