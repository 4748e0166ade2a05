"""The servers behind Gallery, started for the fault tests: they may be killed, paused and started again under load."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from gallery.embedded.datadir import DataDir
from gallery.embedded.launch import free_port
from gallery.embedded.servers import EmbeddedPostgres, EmbeddedValkey
from s3 import SeaweedFS


class Startable(Protocol):
    async def start(self) -> Process: ...

    async def ready(self, process: Process) -> None: ...


class Backend:
    """A server with a fixed port and its data, over any number of processes."""

    def __init__(self, server: Startable) -> None:
        self._server = server
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the server if it is not running, and wait until it is ready."""
        if self._process is None or self._process.returncode is not None:
            self._process = await self._server.start()
        await self._server.ready(self._process)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End the server and its child processes."""
        self.resume()
        processes = self._processes()
        self.send_signal(number)
        if self._process is not None:
            await self._process.wait()
        await asyncio.to_thread(psutil.wait_procs, processes[1:], timeout=10)  # they hold ports and locks

    def suspend(self) -> None:
        self._send_to_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._send_to_all(signal.SIGCONT)

    def _send_to_all(self, number: int) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):  # a backend that has ended meanwhile
                process.send_signal(number)

    def send_signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)

    def _processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            if self._process is not None and self._process.returncode is None:
                parent = psutil.Process(self._process.pid)
                return [parent, *parent.children(recursive=True)]
        return []


@dataclass
class Backends:
    postgres: Backend
    valkey: Backend
    store: Backend
    database_url: str
    redis_url: str
    s3: dict[str, str]

    @property
    def all(self) -> tuple[Backend, ...]:
        return self.postgres, self.valkey, self.store


@asynccontextmanager
async def start_backends(folder: Path) -> AsyncIterator[Backends]:
    data_dir = DataDir.open(folder / "data")
    postgres, valkey, seaweed = (
        EmbeddedPostgres(data_dir),
        EmbeddedValkey(data_dir),
        SeaweedFS(_make_folder(folder / "s3")),
    )
    postgres.port = free_port(None, set())
    valkey.port = free_port(None, {postgres.port})
    await asyncio.gather(postgres.prepare(), valkey.prepare())
    started = [Backend(server) for server in (postgres, valkey, seaweed)]
    try:
        await asyncio.gather(*(server.start() for server in started))
        yield Backends(*started, postgres.url, valkey.url, seaweed.environment)
    finally:
        await asyncio.gather(*(server.kill() for server in started))
        seaweed.clean_up()


def _make_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder
