"""`gallery serve`: the API and the web page, in one process or in several behind one listening socket."""

import asyncio
import os
import socket
from collections.abc import Collection
from pathlib import Path

import structlog

from gallery.access.open_mode import check_openness
from gallery.background import end
from gallery.cli import startup
from gallery.cli.sockets import bind
from gallery.embedded.processes import end_with_parent
from gallery.embedded.supervisor import Command, Supervisor
from gallery.embedded.supervisor import gallery as command_line
from gallery.local_disk.scratch import METRICS, open_scratch
from gallery.ops.capacity import raise_file_limit
from gallery.ops.instruments import left, shared_by
from gallery.settings import Settings
from gallery.web.app import make_app
from gallery.web.server import Server
from gallery.wiring import Gallery

log = structlog.get_logger(__name__)


async def serve(settings: Settings, fd: int | None) -> int:
    """Serve until a signal; `fd` is a listening socket that a parent has opened for us. Raises `CannotStart`."""
    end_with_parent()
    raise_file_limit()
    check_openness(settings)
    with socket.socket(fileno=fd) if fd is not None else bind(settings) as sock:
        if settings.serve.workers > 1:
            return await _serve_with_many(settings, sock)
        async with startup.observed(settings, "gallery-api") as gallery:
            await _serve(gallery, sock)
    return 0


async def _serve_with_many(settings: Settings, sock: socket.socket) -> int:
    """One process for each worker, all on our socket, each started again when it dies. They measure together."""
    seats = [f"api-{number}" for number in range(1, settings.serve.workers + 1)]
    async with startup.servers(settings) as found:
        await startup.bring_up_to_date(found)
        environment = {**os.environ, **startup.environment(found), "GALLERY_SERVE__WORKERS": "1"}
        line = command_line("serve", "--fd", str(sock.fileno()))
        with open_scratch(METRICS) as folder:
            children = [
                Command(
                    seat,
                    line,
                    environment | shared_by(folder, seat),
                    pass_fds=(sock.fileno(),),
                    stop_seconds=settings.serve.longest_stop,
                )
                for seat in seats
            ]
            supervisor = Supervisor(on_change=lambda living: _bury(folder, set(seats) - living.keys()))
            return await supervisor.run(lambda it: it.start(*children))


def _bury(folder: Path, seats: Collection[str]) -> None:
    for seat in seats:
        left(folder, seat)


async def _serve(gallery: Gallery, sock: socket.socket) -> None:
    server = Server(make_app(gallery), gallery.settings.serve, gallery.feed.end, gallery.health.leave)
    host, port = sock.getsockname()[:2]
    async with startup.stopped_by_signals(server.stop), asyncio.TaskGroup() as tasks:
        feed = tasks.create_task(gallery.feed.run(), name="feed")
        log.info("api.serving", url=f"http://{host}:{port}")
        await server.serve(sockets=[sock])
        await end(feed)
    log.info("api.ended")
