"""The jobs of this room: which ring calls for what."""

from datetime import timedelta

from gallery.images.model import Image, ImageId, Lane
from gallery.jobs.queue import Ring

PROCESS = "process"
NOT_YET = -1  # the turn of rings that only come back later
PRIORITY = {Lane.INTERACTIVE: 1, Lane.BULK: 1000}


def ring_for(image: Image, delay: timedelta = timedelta()) -> Ring:
    """Rings for different attempts are told apart: a retry's ring is not a double of the ring before it."""
    return Ring(PROCESS, image.id, turn=image.attempt, delay=delay, priority=PRIORITY[image.lane])


def ring_later(image: ImageId, delay: timedelta) -> Ring:
    """For an image that is not due yet, or somebody's for now."""
    return Ring(PROCESS, image, turn=NOT_YET, delay=delay, priority=PRIORITY[Lane.INTERACTIVE])
