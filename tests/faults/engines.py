"""The servers behind Gallery, each one of our own: it may be killed, paused and started again under load."""

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
from gallery.embedded.servers import Postgres, Valkey
from s3 import SeaweedFS


class Server(Protocol):
    async def start(self) -> Process: ...

    async def ready(self, process: Process) -> None: ...


class Engine:
    """A server on its port and with its data, whatever becomes of its process."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._process: Process | None = None

    async def start(self) -> None:
        """Nothing, where it runs."""
        if self._process is None or self._process.returncode is not None:
            self._process = await self._server.start()
        await self._server.ready(self._process)

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, and all that belongs to it."""
        self.thaw()
        family = self._all()
        self.send(number)
        if self._process is not None:
            await self._process.wait()
        await asyncio.to_thread(psutil.wait_procs, family[1:], timeout=10)  # they hold what the next one needs

    def freeze(self) -> None:
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell_all(signal.SIGCONT)

    def _tell_all(self, number: int) -> None:
        for process in self._all():
            with suppress(psutil.NoSuchProcess):  # a backend that has ended meanwhile
                process.send_signal(number)

    def send(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, number)

    def _all(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            if self._process is not None and self._process.returncode is None:
                parent = psutil.Process(self._process.pid)
                return [parent, *parent.children(recursive=True)]
        return []


@dataclass
class Engines:
    postgres: Engine
    valkey: Engine
    store: Engine
    database_url: str
    redis_url: str
    s3: dict[str, str]

    @property
    def all(self) -> tuple[Engine, ...]:
        return self.postgres, self.valkey, self.store


@asynccontextmanager
async def engines(folder: Path) -> AsyncIterator[Engines]:
    home = DataDir.open(folder / "data")
    postgres, valkey, seaweed = Postgres(home), Valkey(home), SeaweedFS(_made(folder / "s3"))
    postgres.port = free_port(None, set())
    valkey.port = free_port(None, {postgres.port})
    await asyncio.gather(postgres.prepare(), valkey.prepare())
    started = [Engine(server) for server in (postgres, valkey, seaweed)]
    try:
        await asyncio.gather(*(engine.start() for engine in started))
        yield Engines(*started, postgres.url, valkey.url, seaweed.environment)
    finally:
        await asyncio.gather(*(engine.kill() for engine in started))
        seaweed.tidy()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
