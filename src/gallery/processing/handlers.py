"""The worker's jobs: one handler for the queue's jobs, and the sweep on its timer."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import structlog

from gallery.errors import Unavailable
from gallery.images.jobs import PROCESS_JOB
from gallery.images.model import ImageId
from gallery.jobs.worker import Handler
from gallery.processing.service import Processing
from gallery.processing.sweep import Sweep

log = structlog.get_logger(__name__)


def handlers(processing: Processing) -> Mapping[str, Handler]:
    """The handlers by job name."""

    async def process(subject: str) -> None:
        await processing.process(ImageId(subject))

    return {PROCESS_JOB: process}


async def sweep_regularly(sweep: Sweep, every: timedelta) -> None:
    """Sweeps at this interval until cancelled; each time, one worker of all does it."""
    while True:
        await asyncio.sleep(every.total_seconds())
        try:
            if await sweep.try_lock(every):
                await sweep.run()
        except Unavailable as error:
            log.warning("sweep.waiting", error=str(error))
