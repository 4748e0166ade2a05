"""`gallery worker`: renders what the queue brings, and takes its turn at the sweep."""

import asyncio
from datetime import timedelta

import structlog

from gallery import __version__
from gallery.background import end
from gallery.cli import startup
from gallery.cli.worker_http import door
from gallery.embedded.processes import end_with_parent
from gallery.jobs.worker import answering
from gallery.processing.confinement import weakness
from gallery.processing.handlers import handlers, sweep_regularly
from gallery.settings import Settings
from gallery.wiring import open_processing

log = structlog.get_logger(__name__)


async def worker(settings: Settings) -> None:
    """Work until a signal; what is under way then is handed back."""
    end_with_parent()
    stop, every = asyncio.Event(), timedelta(seconds=settings.worker.sweep_every)
    async with (
        door(settings) as open_door,
        startup.observed(settings, "gallery-worker") as gallery,
        startup.stopped_by_signals(stop.set),
        open_door(gallery),
        open_processing(gallery) as processing,
        gallery.roster.present(processing.name, __version__, settings.worker.concurrency),
        answering(gallery.settings.redis, handlers(processing), settings.worker.concurrency, processing.name),
        asyncio.TaskGroup() as tasks,
    ):
        sweeping = tasks.create_task(sweep_regularly(gallery.sweep, every), name="sweep")
        if reason := weakness():
            log.warning("renderers.not_confined", reason=reason, more="the check renderers of gallery doctor")
        log.info("worker.working", concurrency=settings.worker.concurrency)
        await stop.wait()
        await end(sweeping)
    log.info("worker.ended")
