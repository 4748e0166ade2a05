"""`gallery worker`: renders what the queue brings, and takes its turn at the sweep."""

import asyncio
from datetime import timedelta

import structlog

from gallery import __version__
from gallery.adapters.processes import end_with_parent
from gallery.background import end
from gallery.cli import house
from gallery.cli.door import door
from gallery.errors import Unavailable
from gallery.images.model import ImageId
from gallery.images.processing import Processing
from gallery.images.tasks import PROCESS
from gallery.jobs.confinement import weakness
from gallery.jobs.worker import Handler, answering
from gallery.settings import Settings
from gallery.wiring import Gallery, open_processing

log = structlog.get_logger(__name__)


async def worker(settings: Settings) -> None:
    """Work until a signal; what is under way then is handed back."""
    end_with_parent()
    stop = asyncio.Event()
    async with (
        door(settings) as open_door,
        house.observed(settings, "gallery-worker") as gallery,
        house.stopped_by_signals(stop.set),
        open_door(gallery),
        open_processing(gallery) as processing,
        gallery.roster.present(processing.name, __version__, settings.worker.concurrency),
        answering(gallery.settings.redis, _handlers(processing), settings.worker.concurrency, processing.name),
        asyncio.TaskGroup() as tasks,
    ):
        sweeping = tasks.create_task(_sweep(gallery), name="sweep")
        if reason := weakness():
            log.warning("renderers.not_confined", reason=reason, more="the check renderers of gallery doctor")
        log.info("worker.working", concurrency=settings.worker.concurrency)
        await stop.wait()
        await end(sweeping)
    log.info("worker.ended")


def _handlers(processing: Processing) -> dict[str, Handler]:
    async def process(subject: str) -> None:
        await processing.process(ImageId(subject))

    return {PROCESS: process}


async def _sweep(gallery: Gallery) -> None:
    every = timedelta(seconds=gallery.settings.worker.sweep_every)
    while True:
        await asyncio.sleep(every.total_seconds())
        try:
            if await gallery.sweep.turn(every):
                await gallery.sweep.run()
        except Unavailable as error:
            log.warning("sweep.waiting", error=str(error))
