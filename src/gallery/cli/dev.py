"""`gallery dev`: all of Gallery on one machine, each part a process that is restarted when it dies.

The listening socket is opened here and inherited by the API. So a port in use is reported before any server starts, and
connections wait while a dead API is restarted, instead of being refused.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import typer

from gallery.access.open_mode import check_open_mode
from gallery.cli import startup
from gallery.cli.sockets import bind
from gallery.embedded import datadir
from gallery.embedded.datadir import DirectoryLock
from gallery.embedded.processes import ProcessRef
from gallery.embedded.servers import prepare_servers, publish_servers
from gallery.embedded.supervisor import Command, Supervisor, gallery_command
from gallery.local_disk.scratch import METRICS_PREFIX, open_scratch
from gallery.ops.instruments import aggregating_environment, mark_slot_dead, multiprocess_environment
from gallery.settings import Settings


async def dev(settings: Settings) -> int:
    """Run until a signal; returns the exit code. Raises `CannotStart`."""
    check_open_mode(settings)
    async with datadir.lock(settings.data_path, "gallery dev") as lock:
        # only now: a killed predecessor's API may have held the socket until here
        with bind(settings) as sock, open_scratch(METRICS_PREFIX) as metrics_dir:

            def on_change(live: Mapping[str, ProcessRef]) -> None:
                lock.publish(processes=live)
                if "worker" not in live:
                    mark_slot_dead(metrics_dir, "worker")

            supervisor = Supervisor(on_change=on_change)

            async def begin(_: Supervisor) -> None:
                postgres, valkey = settings.database.url is None, settings.redis.url is None
                servers = await prepare_servers(lock, postgres=postgres, valkey=valkey)
                await supervisor.start(*servers)
                publish_servers(lock, servers)
                await _start_processes(settings, supervisor, lock, sock, metrics_dir)

            return await supervisor.run(begin)


async def _start_processes(
    settings: Settings, supervisor: Supervisor, lock: DirectoryLock, sock: socket.socket, metrics_dir: Path
) -> None:
    """Starts the worker and the API, and prints the URL. The API starts last and ends first."""
    found = startup.with_server_urls(settings, lock.run_info.database_url, lock.run_info.redis_url)
    await startup.ensure_schema(found)
    host, port = sock.getsockname()[:2]
    environment = {**os.environ, **startup.child_environment(found)}
    serve = gallery_command("serve", "--fd", str(sock.fileno()))
    own_port = settings.worker.metrics_port != 0  # then Prometheus reads the worker's metrics from it
    metrics = {} if own_port else multiprocess_environment(metrics_dir, "worker")
    await supervisor.start(Command("worker", gallery_command("worker"), environment | metrics))
    api = Command(
        "api",
        serve,
        environment | aggregating_environment(metrics_dir),
        probe=_livez_probe(host, port),
        pass_fds=(sock.fileno(),),
        stop_seconds=settings.serve.max_stop_seconds,
    )
    await supervisor.start(api)
    lock.publish(api_port=port)
    typer.echo(f"Gallery is at http://{host}:{port} (API: /api, data: {settings.data_path}). Ctrl-C ends it.")


def _livez_probe(host: str, port: int) -> Callable[[], Awaitable[bool]]:
    """Whether the API answers: the socket accepts connections long before."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  a client's address

    async def probe() -> bool:
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                status = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return b" 200 " in status

    return probe
