"""The embedded servers: the real PostgreSQL and the real Valkey, from PyPI wheels, as child processes.

A short command uses `open_servers`. `gallery dev` locks the data directory itself: it calls `prepare_servers`, gives
the servers to its supervisor, which restarts each one that dies, on the same port, and calls `publish_servers`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gallery.background import gather
from gallery.embedded import datadir, processes
from gallery.embedded.datadir import DirectoryLock, RunInfo
from gallery.embedded.launch import free_port
from gallery.embedded.postgres import EmbeddedPostgres
from gallery.embedded.valkey import EmbeddedValkey
from gallery.errors import CannotStart, StartAgain

__all__ = ["EmbeddedPostgres", "EmbeddedValkey", "Server", "open_servers", "prepare_servers", "publish_servers"]

Server = EmbeddedPostgres | EmbeddedValkey


@asynccontextmanager
async def open_servers(
    data_dir: Path, *, postgres: bool = True, valkey: bool = True, user: str | None = None, command: str = "gallery"
) -> AsyncIterator[RunInfo]:
    """The requested servers: those of a running command in `data_dir`, or new ones until the block ends.

    `user` runs the servers when this process is root. Raises `CannotStart`.
    """
    if not (postgres or valkey):
        yield RunInfo()
        return
    async with datadir.lock_or_share(data_dir, command) as lock:
        if isinstance(lock, DirectoryLock):
            chosen = await prepare_servers(lock, postgres=postgres, valkey=valkey, user=user)
            async with _run_servers(lock, chosen), _wait_until_unused(lock):
                yield lock.run_info
        else:
            _check_available(lock.run_info, data_dir, postgres=postgres, valkey=valkey)
            yield lock.run_info


async def prepare_servers(
    lock: DirectoryLock, *, postgres: bool = True, valkey: bool = True, user: str | None = None
) -> Sequence[Server]:
    """The requested servers, ready to start: leftovers ended, data directories created, ports chosen."""
    chosen: list[Server] = []
    if postgres:
        chosen.append(EmbeddedPostgres(lock.data_dir, user))
    if valkey:
        chosen.append(EmbeddedValkey(lock.data_dir, user))
    try:
        await gather([server.prepare() for server in chosen])
    except OSError as error:
        raise CannotStart(f"The data directory cannot be used: {error.filename}: {error.strerror}.") from None
    ports = dict(lock.previous.ports)
    for server in chosen:
        others = {port for name, port in ports.items() if name != server.name}
        ports[server.name] = server.port = free_port(ports.get(server.name), others)
    return chosen


def publish_servers(lock: DirectoryLock, chosen: Sequence[Server]) -> None:
    """Publish to other commands that these servers are ready."""
    urls = {"database_url" if isinstance(server, EmbeddedPostgres) else "redis_url": server.url for server in chosen}
    lock.publish(**urls, ports=lock.run_info.ports | {server.name: server.port for server in chosen})


@asynccontextmanager
async def _run_servers(lock: DirectoryLock, chosen: Sequence[Server]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        await gather([_start_until_ready(server, stack) for server in chosen])
        publish_servers(lock, chosen)
        yield


async def _start_until_ready(server: Server, stack: AsyncExitStack) -> None:
    """Start the server; it ends with `stack`."""
    process = await stack.enter_async_context(_running_process(server))
    try:
        await server.ready(process)
    except StartAgain:
        await _start_until_ready(server, stack)


@asynccontextmanager
async def _wait_until_unused(lock: DirectoryLock) -> AsyncIterator[None]:
    """Wait for other commands that still use these servers, after success or failure; only Ctrl-C skips the wait."""
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
