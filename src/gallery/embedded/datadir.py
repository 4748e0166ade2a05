"""The data directory: its layout, its locks, and the run file by which a second command finds the running servers.

A command that starts servers first takes the lock, an `flock` that the kernel releases however its process ends, and
publishes the servers in the run file. Any other command reads the run file and shares the second lock; the owner of the
first one waits for that before it stops its servers.
"""

import asyncio
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog
from msgspec import Struct

from gallery.embedded import processes
from gallery.embedded.processes import ProcessRef
from gallery.errors import CannotStart
from gallery.local_disk import permissions

POLL_SECONDS = 0.05
STOP_TIMEOUT_SECONDS = 3.0  # for leftover processes to end by themselves
RESTRICTED_TREES = {"logs", "postgres", "valkey"}  # a few thousand files at most
LOCK_TIMEOUT_SECONDS = 60.0  # for another command to start its servers or to end

log = structlog.get_logger()


@dataclass(frozen=True)
class DataDir:
    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The directory at `path`, created if it is missing. Raises `CannotStart`."""
        path = path.absolute()
        try:
            permissions.make_folder(
                path, permissions.TRAVERSABLE_MODE
            )  # under root the servers run as another user; each folder inside is private
            if (path / "lock").exists():
                _restrict_permissions(path)
            permissions.make_folder(path / "logs")
            (path / "lock").touch(mode=0o600)
        except (FileExistsError, NotADirectoryError):
            raise CannotStart(f"The data directory {path} is not a directory.") from None
        except OSError as error:
            raise CannotStart(f"The data directory {path} is not writable: {error.strerror}.") from None
        return cls(path)

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def postgres_password(self) -> Path:
        return self.path / "postgres.password"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run_file(self) -> Path:
        return self.path / "run.json"


class RunInfo(Struct, frozen=True, omit_defaults=True):
    """The run file's content. It stays after its command has ended: the next one takes the same ports if it can."""

    holder: ProcessRef | None = None
    command: str = ""
    database_url: str | None = None
    redis_url: str | None = None
    api_port: int | None = None
    ports: dict[str, int] = {}
    processes: dict[str, ProcessRef] = {}  # Gallery's own; the servers have their own pid files
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"RunInfo(command={self.command!r}, holder={self.holder!r})"  # the rest holds passwords


def find_running(data_dir: Path) -> RunInfo | None:
    """The content of the run file, if the command that wrote it is alive."""
    running = _read_run_file(data_dir / "run.json")
    return running if running.holder and running.holder.alive else None


@asynccontextmanager
async def lock(
    data_dir: Path, command: str, timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> AsyncIterator["DirectoryLock"]:
    """Lock the directory exclusively, after waiting for other commands' short use. Raises `CannotStart`."""
    home, deadline = DataDir.open(data_dir), time.monotonic() + timeout_seconds
    while not (held := await DirectoryLock.try_acquire(home, command)):
        running = find_running(home.path)
        if running and running.api_port:
            raise CannotStart(
                f"Gallery already runs in {home.path}, on port {running.api_port}: {_describe_holder(running)}."
            )
        await _wait_for_lock(home, deadline)
    with held:
        yield held


@asynccontextmanager
async def lock_or_share(
    data_dir: Path, command: str, timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> AsyncIterator["DirectoryLock | SharedLock"]:
    """Lock the directory exclusively, or share the servers of the command that has locked it. Raises `CannotStart`."""
    home, deadline = DataDir.open(data_dir), time.monotonic() + timeout_seconds
    while not (held := await DirectoryLock.try_acquire(home, command) or SharedLock.try_acquire(home)):
        await _wait_for_lock(home, deadline)
    with held:
        yield held


class DirectoryLock:
    """The right to run servers in the directory. `previous` is the run file of the last owner."""

    def __init__(self, data_dir: DataDir, lock: int, command: str) -> None:
        self.data_dir = data_dir
        self.previous = _read_run_file(data_dir.run_file)
        self.run_info = RunInfo(
            ProcessRef.find(os.getpid()), command, ports=self.previous.ports, secrets=self.previous.secrets
        )
        self._locks = [lock]

    @classmethod
    async def try_acquire(cls, data_dir: DataDir, command: str) -> Self | None:
        lock = _flock(data_dir.path / "lock", fcntl.LOCK_EX)
        if lock is None:
            return None
        try:
            held = cls(data_dir, lock, command)
            await held._end_leftover_processes()
        except BaseException:
            os.close(lock)
            raise
        return held

    def publish(self, **facts: Any) -> None:
        """Write these fields of `RunInfo` to the run file. Other commands come as soon as it has the URLs."""
        self.run_info = msgspec.structs.replace(self.run_info, **facts)
        _write_run_file(self.data_dir.run_file, self.run_info)

    async def wait_until_unused(self) -> None:
        """Wait until no other command uses these servers, and let no new one in."""
        waiting = False
        while (lock := _flock(self.data_dir.path / "visitors", fcntl.LOCK_EX)) is None:
            if not waiting:
                log.info("servers.still_in_use", data_dir=str(self.data_dir.path))
            waiting = True
            await asyncio.sleep(POLL_SECONDS)
        self._locks.append(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _write_run_file(self.data_dir.run_file, RunInfo(ports=self.run_info.ports, secrets=self.run_info.secrets))
        for lock in reversed(self._locks):  # the exclusive one last, when the run file names no servers any more
            os.close(lock)

    async def _end_leftover_processes(self) -> None:
        """A killed owner's processes end with it, but perhaps slowly: they must not run beside the new ones."""
        left = [process for process in self.previous.processes.values() if process.alive]
        signals = (signal.SIGTERM, signal.SIGKILL)
        await asyncio.gather(
            *(processes.terminate(process.pid, process.wait(), signals, STOP_TIMEOUT_SECONDS) for process in left)
        )


class SharedLock:
    """The use of another command's servers, which that command does not stop before this lock is released."""

    def __init__(self, running: RunInfo, lock: int) -> None:
        self.run_info = running
        self._lock = lock

    @classmethod
    def try_acquire(cls, data_dir: DataDir) -> Self | None:
        lock = _flock(data_dir.path / "visitors", fcntl.LOCK_SH)
        if lock is None:
            return None
        running = find_running(data_dir.path)
        if running is None:
            os.close(lock)
            return None
        return cls(running, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


async def _wait_for_lock(data_dir: DataDir, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise CannotStart(
            f"The data directory {data_dir.path} is in use by {_describe_holder(find_running(data_dir.path))}: "
            "try again when it has ended."
        )
    await asyncio.sleep(POLL_SECONDS)


def _restrict_permissions(path: Path) -> None:
    """Restrict files that an earlier version left open to other users, except `objects`: the object store does that."""
    if permissions.is_accessible_to_others(path):
        permissions.restrict(path, permissions.OTHERS_READ_WRITE)
    for part in path.iterdir():
        if part.name in RESTRICTED_TREES:
            permissions.restrict_tree(part)
        elif part.name != "objects":
            permissions.restrict(part)


def _describe_holder(running: RunInfo | None) -> str:
    return f"{running.command} (pid {running.holder.pid})" if running and running.holder else "another process"


def _flock(path: Path, operation: int) -> int | None:
    """A descriptor that holds the lock until it is closed; None if another process holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _read_run_file(run_file: Path) -> RunInfo:
    try:
        return msgspec.json.decode(run_file.read_bytes(), type=RunInfo)
    except (FileNotFoundError, msgspec.DecodeError):  # at the first start; after a power cut
        return RunInfo()


def _write_run_file(run_file: Path, running: RunInfo) -> None:
    fresh = run_file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)  # private before it holds a password
    fresh.write_bytes(msgspec.json.encode(running))
    fresh.replace(run_file)
