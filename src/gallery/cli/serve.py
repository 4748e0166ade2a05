"""`gallery serve`: the API and the web page, in one process or in several behind one listening socket."""

import asyncio
import os
import socket
from collections.abc import Collection
from pathlib import Path

import structlog

from gallery.access.open_mode import check_open_mode
from gallery.background import cancel_and_wait
from gallery.cli import startup
from gallery.cli.sockets import bind
from gallery.embedded.processes import exit_with_parent
from gallery.embedded.supervisor import Command, Supervisor
from gallery.embedded.supervisor import gallery_command as command_line
from gallery.local_disk.scratch import METRICS_PREFIX, open_scratch
from gallery.ops import collector
from gallery.ops.capacity import raise_file_limit
from gallery.ops.instruments import mark_slot_dead, multiprocess_environment
from gallery.ops.time_slice import shorten_time_slice
from gallery.settings import Settings
from gallery.web.app import make_app
from gallery.web.server import Server
from gallery.wiring import Gallery

log = structlog.get_logger(__name__)


async def serve(settings: Settings, fd: int | None) -> int:
    """Serves until a signal; `fd` is a listening socket opened by the parent process. Raises `CannotStart`."""
    exit_with_parent()
    raise_file_limit()
    check_open_mode(settings)
    with socket.socket(fileno=fd) if fd is not None else bind(settings) as sock:
        if settings.serve.workers > 1:
            return await _serve_with_workers(settings, sock)
        async with startup.instrumented_gallery(settings, "gallery-api") as gallery:
            await _serve(gallery, sock)
    return 0


async def _serve_with_workers(settings: Settings, sock: socket.socket) -> int:
    """Starts API processes on one socket, each restarted when it dies, with common metrics."""
    names = [f"api-{number}" for number in range(1, settings.serve.workers + 1)]
    async with startup.settings_with_servers(settings) as found:
        await startup.ensure_schema(found)
        environment = {**os.environ, **startup.child_environment(found), "GALLERY_SERVE__WORKERS": "1"}
        line = command_line("serve", "--fd", str(sock.fileno()))
        with open_scratch(METRICS_PREFIX) as folder:
            children = [
                Command(
                    name,
                    line,
                    environment | multiprocess_environment(folder, name),
                    pass_fds=(sock.fileno(),),
                    stop_seconds=settings.serve.max_stop_seconds,
                )
                for name in names
            ]
            supervisor = Supervisor(on_change=lambda live: _drop_metrics(folder, set(names) - live.keys()))
            return await supervisor.run(lambda it: it.start(*children))


def _drop_metrics(folder: Path, processes: Collection[str]) -> None:
    for name in processes:
        mark_slot_dead(folder, name)


async def _serve(gallery: Gallery, sock: socket.socket) -> None:
    app = make_app(gallery)
    server = Server(
        app.asgi, gallery.settings.serve, gallery.feed.end, gallery.health.start_draining, repeater=app.repeater
    )
    host, port = sock.getsockname()[:2]
    async with startup.stop_on_signals(server.stop), asyncio.TaskGroup() as tasks:
        feed = tasks.create_task(gallery.feed.run(), name="feed")
        collector.freeze()
        shorten_time_slice()
        log.info("api.serving", url=f"http://{host}:{port}")
        await server.serve(sockets=[sock])
        await cancel_and_wait(feed)
    log.info("api.ended")
