"""The jobs of this room: which ring calls for what, and whose turn is first.

A lane comes wholly before the next one. Within a lane, everybody's first image comes before anybody's second: the
place of an image is the one that it had among its owner's waiting images when it came.
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
DELAYED_KEY = -1  # the turn of rings that only come back later
AHEAD_KEY = -2  # of rings for what has waited too long
HIGHEST_PRIORITY = 1
LANE_OFFSETS = {
    Lane.INTERACTIVE: 0,
    Lane.BULK: MAX_QUEUE_POSITION,
    Lane.MAINTENANCE: 2 * MAX_QUEUE_POSITION,
}  # BullMQ counts to 2,097,152


def priority(lane: Lane, queue_position: int) -> int:
    """Low is soon."""
    return LANE_OFFSETS[lane] + min(queue_position, MAX_QUEUE_POSITION)


def priority_range(lane: Lane) -> tuple[int, int]:
    """The first and the last priority of a lane; the first one has what has waited too long as well."""
    return LANE_OFFSETS[lane] + 1, LANE_OFFSETS[lane] + MAX_QUEUE_POSITION


def job_for(image: Image, delay: timedelta = timedelta()) -> Job:
    """Rings for different attempts are told apart: a retry's ring is not a double of the ring before it."""
    return Job(
        PROCESS_JOB, image.id, dedup_key=image.attempt, delay=delay, priority=priority(image.lane, image.queue_position)
    )


def job_later(image: ImageId, delay: timedelta) -> Job:
    """For an image that is not due yet, or somebody's for now."""
    return Job(PROCESS_JOB, image, dedup_key=DELAYED_KEY, delay=delay, priority=HIGHEST_PRIORITY)


def repeat_job(image: ImageId, attempt: int, lane: Lane, queue_position: int) -> Job:
    """For an image whose ring may be lost, or only waits: a second one in the same place, and never a third."""
    return Job(PROCESS_JOB, image, dedup_key=attempt, priority=priority(lane, queue_position), unique=True)


def job_ahead(image: ImageId) -> Job:
    """For an image that has waited long enough, before all others."""
    return Job(PROCESS_JOB, image, dedup_key=AHEAD_KEY, priority=HIGHEST_PRIORITY, unique=True)


async def enqueue(queue: Queue, database: Database, job: Job) -> None:
    """Ring; where Valkey is away, leave word in the row, so that the sweep rings as soon as it is back."""
    try:
        await queue.enqueue(job)
    except ValkeyUnavailable as error:
        log.warning("image.not_rung", image=job.subject, error=str(error))
        try:
            async with database.writing() as db:
                await store.mark_not_enqueued(db, ImageId(job.subject))
        except DatabaseUnavailable as away:  # then the sweep misses an answer a little later
            log.warning("image.not_rung", image=job.subject, error=str(away))
