"""The embedded servers: the real PostgreSQL and the real Valkey, from PyPI wheels, as processes of ours.

A short command uses `open_servers`. `gallery dev` holds the data directory itself: it calls `prepare_servers`, gives
the servers to its supervisor, which starts each again when it dies, on the same port, and calls `publish_servers`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gallery.embedded import datadir, processes
from gallery.embedded.datadir import DirectoryLock, RunInfo
from gallery.embedded.launch import free_port, run_concurrently
from gallery.embedded.postgres import EmbeddedPostgres
from gallery.embedded.valkey import EmbeddedValkey
from gallery.errors import CannotStart, StartAgain

__all__ = ["EmbeddedPostgres", "EmbeddedValkey", "Server", "open_servers", "prepare_servers", "publish_servers"]

Server = EmbeddedPostgres | EmbeddedValkey


@asynccontextmanager
async def open_servers(
    data_dir: Path, *, postgres: bool = True, valkey: bool = True, user: str | None = None, command: str = "gallery"
) -> AsyncIterator[RunInfo]:
    """The servers asked for: another command's that runs in `data_dir`, or our own until the end of the block.

    `user` is who runs the servers when we are root. Raises `CannotStart`.
    """
    if not (postgres or valkey):
        yield RunInfo()
        return
    async with datadir.lock_or_share(data_dir, command) as place:
        if isinstance(place, DirectoryLock):
            chosen = await prepare_servers(place, postgres=postgres, valkey=valkey, user=user)
            async with _run_servers(place, chosen), _wait_until_unused(place):
                yield place.run_info
        else:
            _check_available(place.run_info, data_dir, postgres=postgres, valkey=valkey)
            yield place.run_info


async def prepare_servers(
    hold: DirectoryLock, *, postgres: bool = True, valkey: bool = True, user: str | None = None
) -> Sequence[Server]:
    """The servers asked for, ready to be started: predecessors ended, data directories made, ports chosen."""
    chosen: list[Server] = []
    if postgres:
        chosen.append(EmbeddedPostgres(hold.data_dir, user))
    if valkey:
        chosen.append(EmbeddedValkey(hold.data_dir, user))
    try:
        await run_concurrently(*(server.prepare() for server in chosen))
    except OSError as error:
        raise CannotStart(f"The data directory cannot be used: {error.filename}: {error.strerror}.") from None
    ports = dict(hold.previous.ports)
    for server in chosen:
        others = {port for name, port in ports.items() if name != server.name}
        ports[server.name] = server.port = free_port(ports.get(server.name), others)
    return chosen


def publish_servers(hold: DirectoryLock, chosen: Sequence[Server]) -> None:
    """Tell the other commands that these servers are ready."""
    urls = {"database_url" if isinstance(server, EmbeddedPostgres) else "redis_url": server.url for server in chosen}
    hold.publish(**urls, ports=hold.run_info.ports | {server.name: server.port for server in chosen})


@asynccontextmanager
async def _run_servers(lock: DirectoryLock, chosen: Sequence[Server]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await run_concurrently(*(_start_until_ready(server, stack) for server in chosen))
        publish_servers(lock, chosen)
        yield


async def _start_until_ready(server: Server, stack: AsyncExitStack) -> None:
    """Start it; it ends with `stack`."""
    process = await stack.enter_async_context(_running_process(server))
    try:
        await server.ready(process)
    except StartAgain:
        await _start_until_ready(server, stack)


@asynccontextmanager
async def _wait_until_unused(lock: DirectoryLock) -> AsyncIterator[None]:
    """Other commands may still use our servers when ours is done or has failed; only Ctrl-C does not wait for them."""
    try:
        yield
    except Exception:
        await lock.wait_until_unused()
        raise
    await lock.wait_until_unused()


@asynccontextmanager
async def _running_process(server: Server) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await server.start()
    try:
        yield process
    finally:
        await processes.terminate_child(process, server.stop_signals, server.stop_seconds)


def _check_available(run_info: RunInfo, data_dir: Path, *, postgres: bool, valkey: bool) -> None:
    if postgres and run_info.database_url is None:
        raise CannotStart(f"The Gallery that runs in {data_dir} uses another PostgreSQL: set DATABASE_URL as it does.")
    if valkey and run_info.redis_url is None:
        raise CannotStart(f"The Gallery that runs in {data_dir} uses another Valkey: set REDIS_URL as it does.")
