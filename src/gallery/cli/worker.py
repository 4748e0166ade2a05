"""`gallery worker`: renders what the queue brings, and takes its turn at the sweep."""

import asyncio
from datetime import timedelta

import structlog

from gallery import __version__
from gallery.background import cancel_and_wait
from gallery.cli import startup
from gallery.cli.worker_http import worker_http
from gallery.embedded.processes import exit_with_parent
from gallery.jobs.worker import consume_jobs
from gallery.processing.confinement import weakness
from gallery.processing.handlers import handlers, sweep_regularly
from gallery.settings import Settings
from gallery.wiring import open_processing

log = structlog.get_logger(__name__)


async def worker(settings: Settings) -> None:
    """Work until a signal; what is under way then is handed back."""
    exit_with_parent()
    stop, every = asyncio.Event(), timedelta(seconds=settings.worker.sweep_every)
    async with (
        worker_http(settings) as open_door,
        startup.instrumented_gallery(settings, "gallery-worker") as gallery,
        startup.stop_on_signals(stop.set),
        open_door(gallery),
        open_processing(gallery) as processing,
        gallery.worker_registry.registered(processing.name, __version__, settings.worker.concurrency),
        consume_jobs(gallery.settings.redis, handlers(processing), settings.worker.concurrency, processing.name),
        asyncio.TaskGroup() as tasks,
    ):
        sweeping = tasks.create_task(sweep_regularly(gallery.sweep, every), name="sweep")
        if reason := weakness():
            log.warning("renderers.not_confined", reason=reason, more="the check renderers of gallery doctor")
        log.info("worker.working", concurrency=settings.worker.concurrency)
        await stop.wait()
        await cancel_and_wait(sweeping)
    log.info("worker.ended")
