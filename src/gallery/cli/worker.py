"""`gallery worker`: renders the queue's images, and sweeps regularly."""

import asyncio
from datetime import timedelta

import structlog

from gallery import __version__
from gallery.background import cancel_and_wait
from gallery.cli import startup
from gallery.cli.worker_http import worker_http
from gallery.embedded.processes import exit_with_parent
from gallery.jobs.worker import consume_jobs
from gallery.processing.handlers import handlers, sweep_regularly
from gallery.processing.service import max_attempts
from gallery.renderers.confinement import weakness
from gallery.settings import Settings
from gallery.wiring import open_processing

log = structlog.get_logger(__name__)


async def worker(settings: Settings) -> None:
    """Works until a signal; unfinished images are then given back."""
    exit_with_parent()
    stop, every, renderers = (
        asyncio.Event(),
        timedelta(seconds=settings.worker.sweep_every),
        settings.worker.concurrency,
    )
    async with (
        worker_http(settings) as start_http,
        startup.instrumented_gallery(settings, "gallery-worker") as gallery,
        startup.stop_on_signals(stop.set),
        start_http(gallery),
        open_processing(gallery) as processing,
        gallery.worker_registry.registered(processing.name, __version__, renderers),
        consume_jobs(gallery.settings.redis, handlers(processing), max_attempts(renderers), processing.name),
        asyncio.TaskGroup() as tasks,
    ):
        sweeping = tasks.create_task(sweep_regularly(gallery.sweep, every), name="sweep")
        if reason := weakness():
            log.warning("renderers.not_confined", reason=reason, more="the check renderers of gallery doctor")
        log.info("worker.working", concurrency=renderers)
        await stop.wait()
        await cancel_and_wait(sweeping)
    log.info("worker.ended")
