"""`gallery dev`: the whole of Gallery on one machine, each part a process that is started again when it dies.

The listening socket is opened here and inherited by the API, so a port in use is told before any server starts, and
connections that come while a dead API is started again wait instead of being refused.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import typer

from gallery.access.open_mode import check_openness
from gallery.cli import startup
from gallery.cli.sockets import bind
from gallery.embedded import datadir
from gallery.embedded.datadir import Hold
from gallery.embedded.processes import Process
from gallery.embedded.servers import prepare_servers, publish_servers
from gallery.embedded.supervisor import Command, Supervisor, gallery
from gallery.local_disk.scratch import METRICS, open_scratch
from gallery.ops.instruments import left, shared_by, telling_for
from gallery.settings import Settings


async def dev(settings: Settings) -> int:
    """Run until a signal; returns the exit code. Raises `CannotStart`."""
    check_openness(settings)
    async with datadir.hold(settings.data, "gallery dev") as hold:
        # only now: a killed predecessor's API may have held the socket until here
        with bind(settings) as sock, open_scratch(METRICS) as measured:

            def changed(living: Mapping[str, Process]) -> None:
                hold.publish(processes=living)
                if "worker" not in living:
                    left(measured, "worker")

            supervisor = Supervisor(on_change=changed)

            async def begin(_: Supervisor) -> None:
                postgres, valkey = settings.database.url is None, settings.redis.url is None
                servers = await prepare_servers(hold, postgres=postgres, valkey=valkey)
                await supervisor.start(*servers)
                publish_servers(hold, servers)
                await _open(settings, supervisor, hold, sock, measured)

            return await supervisor.run(begin)


async def _open(settings: Settings, supervisor: Supervisor, hold: Hold, sock: socket.socket, measured: Path) -> None:
    """Start our own parts on servers that run, and say where to look. The API, the last to start, ends first."""
    found = startup.located(settings, hold.running.database_url, hold.running.redis_url)
    await startup.bring_up_to_date(found)
    host, port = sock.getsockname()[:2]
    environment = {**os.environ, **startup.environment(found)}
    serve = gallery("serve", "--fd", str(sock.fileno()))
    alone = settings.worker.metrics_port != 0  # then Prometheus asks it itself
    measuring = {} if alone else shared_by(measured, "worker")
    await supervisor.start(Command("worker", gallery("worker"), environment | measuring))
    api = Command(
        "api",
        serve,
        environment | telling_for(measured),
        answers=_livez(host, port),
        pass_fds=(sock.fileno(),),
        stop_seconds=settings.serve.longest_stop,
    )
    await supervisor.start(api)
    hold.publish(api_port=port)
    typer.echo(f"Gallery is at http://{host}:{port} (API: /api, data: {settings.data}). Ctrl-C ends it.")


def _livez(host: str, port: int) -> Callable[[], Awaitable[bool]]:
    """Whether the API answers: the socket takes connections long before."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  it is asked, not opened

    async def answers() -> bool:
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in status

    return answers
