"""The embedded servers: the real PostgreSQL and the real Valkey, from PyPI wheels, as processes of ours.

A short command uses `open_servers`. `gallery dev` holds the data directory itself: it calls `prepare_servers`, gives
the servers to its supervisor, which starts each again when it dies, on the same port, and calls `publish_servers`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gallery.embedded import datadir, processes
from gallery.embedded.datadir import Hold, Running
from gallery.embedded.launch import free_port, together
from gallery.embedded.postgres import Postgres
from gallery.embedded.valkey import Valkey
from gallery.errors import CannotStart, StartAgain

__all__ = ["Postgres", "Server", "Valkey", "open_servers", "prepare_servers", "publish_servers"]

Server = Postgres | Valkey


@asynccontextmanager
async def open_servers(
    data_dir: Path, *, postgres: bool = True, valkey: bool = True, user: str | None = None, command: str = "gallery"
) -> AsyncIterator[Running]:
    """The servers asked for: another command's that runs in `data_dir`, or our own until the end of the block.

    `user` is who runs the servers when we are root. Raises `CannotStart`.
    """
    if not (postgres or valkey):
        yield Running()
        return
    async with datadir.enter(data_dir, command) as place:
        if isinstance(place, Hold):
            chosen = await prepare_servers(place, postgres=postgres, valkey=valkey, user=user)
            async with _started(place, chosen), _until_unused(place):
                yield place.running
        else:
            _check_enough(place.running, data_dir, postgres=postgres, valkey=valkey)
            yield place.running


async def prepare_servers(
    hold: Hold, *, postgres: bool = True, valkey: bool = True, user: str | None = None
) -> Sequence[Server]:
    """The servers asked for, ready to be started: predecessors ended, data directories made, ports chosen."""
    chosen: list[Server] = []
    if postgres:
        chosen.append(Postgres(hold.home, user))
    if valkey:
        chosen.append(Valkey(hold.home, user))
    try:
        await together(*(server.prepare() for server in chosen))
    except OSError as error:
        raise CannotStart(f"The data directory cannot be used: {error.filename}: {error.strerror}.") from None
    ports = dict(hold.last.ports)
    for server in chosen:
        others = {port for name, port in ports.items() if name != server.name}
        ports[server.name] = server.port = free_port(ports.get(server.name), others)
    return chosen


def publish_servers(hold: Hold, chosen: Sequence[Server]) -> None:
    """Tell the other commands that these servers are ready."""
    urls = {"database_url" if isinstance(server, Postgres) else "redis_url": server.url for server in chosen}
    hold.publish(**urls, ports=hold.running.ports | {server.name: server.port for server in chosen})


@asynccontextmanager
async def _started(hold: Hold, chosen: Sequence[Server]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await together(*(_until_ready(server, stack) for server in chosen))
        publish_servers(hold, chosen)
        yield


async def _until_ready(server: Server, stack: AsyncExitStack) -> None:
    """Start it; it ends with `stack`."""
    process = await stack.enter_async_context(_process(server))
    try:
        await server.ready(process)
    except StartAgain:
        await _until_ready(server, stack)


@asynccontextmanager
async def _until_unused(hold: Hold) -> AsyncIterator[None]:
    """Other commands may still use our servers when ours is done or has failed; only Ctrl-C does not wait for them."""
    try:
        yield
    except Exception:
        await hold.visitors_gone()
        raise
    await hold.visitors_gone()


@asynccontextmanager
async def _process(server: Server) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await server.start()
    try:
        yield process
    finally:
        await processes.end_child(process, server.stop_signals, server.stop_seconds)


def _check_enough(running: Running, data_dir: Path, *, postgres: bool, valkey: bool) -> None:
    if postgres and running.database_url is None:
        raise CannotStart(f"The Gallery that runs in {data_dir} uses another PostgreSQL: set DATABASE_URL as it does.")
    if valkey and running.redis_url is None:
        raise CannotStart(f"The Gallery that runs in {data_dir} uses another Valkey: set REDIS_URL as it does.")
