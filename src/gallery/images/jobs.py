"""The jobs of this room: which ring calls for what, and whose turn is first.

A lane comes wholly before the next one. Within a lane, everybody's first image comes before anybody's second: the
place of an image is the one that it had among its owner's waiting images when it came.
"""

from datetime import timedelta

import structlog

from gallery.adapters.postgres.database import Database
from gallery.errors import DatabaseAway, ValkeyAway
from gallery.images import store
from gallery.images.model import Image, ImageId, Lane
from gallery.images.store import MOST_PLACES
from gallery.jobs.queue import Queue, Ring

log = structlog.get_logger(__name__)

PROCESS = "process"
NOT_YET = -1  # the turn of rings that only come back later
RAISED = -2  # of rings for what has waited too long
FIRST = 1
BEHIND = {Lane.INTERACTIVE: 0, Lane.BULK: MOST_PLACES, Lane.MAINTENANCE: 2 * MOST_PLACES}  # BullMQ counts to 2,097,152


def priority(lane: Lane, place: int) -> int:
    """Low is soon."""
    return BEHIND[lane] + min(place, MOST_PLACES)


def priorities(lane: Lane) -> tuple[int, int]:
    """The first and the last priority of a lane; the first one has what has waited too long as well."""
    return BEHIND[lane] + 1, BEHIND[lane] + MOST_PLACES


def ring_for(image: Image, delay: timedelta = timedelta()) -> Ring:
    """Rings for different attempts are told apart: a retry's ring is not a double of the ring before it."""
    return Ring(PROCESS, image.id, turn=image.attempt, delay=delay, priority=priority(image.lane, image.queue_place))


def ring_later(image: ImageId, delay: timedelta) -> Ring:
    """For an image that is not due yet, or somebody's for now."""
    return Ring(PROCESS, image, turn=NOT_YET, delay=delay, priority=FIRST)


def ring_again(image: ImageId, attempt: int, lane: Lane, place: int) -> Ring:
    """For an image whose ring may be lost, or only waits: a second one in the same place, and never a third."""
    return Ring(PROCESS, image, turn=attempt, priority=priority(lane, place), once=True)


def ring_first(image: ImageId) -> Ring:
    """For an image that has waited long enough, before all others."""
    return Ring(PROCESS, image, turn=RAISED, priority=FIRST, once=True)


async def call(queue: Queue, database: Database, ring: Ring) -> None:
    """Ring; where Valkey is away, leave word in the row, so that the sweep rings as soon as it is back."""
    try:
        await queue.ring(ring)
    except ValkeyAway as error:
        log.warning("image.not_rung", image=ring.subject, error=str(error))
        try:
            async with database.writing() as db:
                await store.unheard(db, ImageId(ring.subject))
        except DatabaseAway as away:  # then the sweep misses an answer a little later
            log.warning("image.not_rung", image=ring.subject, error=str(away))
