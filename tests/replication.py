"""A PostgreSQL and its streaming replica, both real: the embedded server, and a second one made by `pg_basebackup`."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from gallery.adapters.postgres.migrations import migrate
from gallery.embedded import processes
from gallery.embedded.datadir import DataDir
from gallery.embedded.launch import free_port
from gallery.embedded.servers import EmbeddedPostgres

STREAMING_SETTINGS = ("wal_level=replica", "max_wal_senders=5", "wal_sender_timeout=5s", "hot_standby=on")


class Standby(EmbeddedPostgres):
    """A streaming replica of another server."""

    def __init__(self, data_dir: DataDir, primary: EmbeddedPostgres) -> None:
        super().__init__(data_dir, extra_settings=STREAMING_SETTINGS)
        self._primary = primary

    async def _create_cluster(self) -> None:
        shutil.copy(self._primary._data_dir.postgres_password, self._data_dir.postgres_password)
        self._directory.mkdir(mode=0o700)
        if self._account:
            self._account = self._account.for_path(self._directory)
        source = self._primary.url.replace("/image_gallery", "")
        arguments = ["-d", source, "-D", str(self._directory), "--write-recovery-conf", "--wal-method=stream"]
        copy = await asyncio.create_subprocess_exec(
            *self._program("pg_basebackup"), *arguments, "--checkpoint=fast", "--no-sync", cwd="/"
        )
        assert await copy.wait() == 0


class PostgresServer:
    """A running server that can be killed, stopped and started again."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return self._server.url

    async def start(self) -> None:
        await self._server.prepare()
        self._server.port = self._server.port or free_port(None, set())
        self._process = await self._server.start()
        await self._server.ready(self._process)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.send_signal(signal.SIGCONT)
            await processes.terminate_child(self._process, EmbeddedPostgres.stop_signals, EmbeddedPostgres.stop_seconds)

    def send_signal(self, number: int) -> None:
        """Signal the server and all its backends."""
        assert self._process is not None
        for process in (parent := psutil.Process(self._process.pid), *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # a backend that has ended meanwhile
                process.send_signal(number)

    async def fetch_value(self, statement: str) -> Any:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def primary_and_replica(folder: Path) -> AsyncIterator[tuple[PostgresServer, PostgresServer]]:
    """A migrated primary and its replica."""
    first = EmbeddedPostgres(DataDir.open(folder / "primary"), extra_settings=STREAMING_SETTINGS)
    primary, replica = PostgresServer(first), PostgresServer(Standby(DataDir.open(folder / "replica"), first))
    try:
        await primary.start()
        await asyncio.to_thread(migrate, primary.url)
        await replica.start()
        yield primary, replica
    finally:
        await replica.stop()
        await primary.stop()
