"""The data directory: what lies where, who holds it, and how a second command finds what runs.

Whoever starts servers here first takes the lock, an `flock` that the kernel gives back however its holder ends, and
publishes what runs in the run file. Everybody else comes as a visitor: it reads the run file and shares the second
lock, for which a holder that wants to leave waits.
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
STOP_TIMEOUT_SECONDS = 3.0  # seconds for what a killed holder left to end by itself
RESTRICTED_TREES = {"logs", "postgres", "valkey"}  # a few thousand files at most
LOCK_TIMEOUT_SECONDS = 60.0  # seconds for another command to start the servers or to leave

log = structlog.get_logger()


@dataclass(frozen=True)
class DataDir:
    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The directory at `path`, made where missing. Raises `CannotStart`."""
        path = path.absolute()
        try:
            permissions.make_folder(
                path, permissions.TRAVERSABLE_MODE
            )  # as root, the servers run as another user; each part is private itself
            if (path / "lock").exists():
                _restrict_permissions(path)
            permissions.make_folder(path / "logs")
            (path / "lock").touch(mode=0o600)
        except (FileExistsError, NotADirectoryError):
            raise CannotStart(f"The data directory {path} is not a directory.") from None
        except OSError as error:
            raise CannotStart(f"The data directory {path} cannot be written: {error.strerror}.") from None
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
    """What the run file says. It stays when its holder has gone: the next one takes the same ports if it can."""

    holder: ProcessRef | None = None
    command: str = ""
    database_url: str | None = None
    redis_url: str | None = None
    api_port: int | None = None
    ports: dict[str, int] = {}
    processes: dict[str, ProcessRef] = {}  # of ours; the servers keep pid files of their own
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Running(command={self.command!r}, holder={self.holder!r})"  # the rest holds passwords


def find_running(data_dir: Path) -> RunInfo | None:
    """What runs in `data_dir`, if somebody holds it and all is ready."""
    running = _read_run_file(data_dir / "run.json")
    return running if running.holder and running.holder.alive else None


@asynccontextmanager
async def lock(
    data_dir: Path, command: str, timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> AsyncIterator["DirectoryLock"]:
    """Hold the directory alone; another command's short use of it is waited for. Raises `CannotStart`."""
    home, last = DataDir.open(data_dir), time.monotonic() + timeout_seconds
    while not (held := await DirectoryLock.try_acquire(home, command)):
        running = find_running(home.path)
        if running and running.api_port:
            raise CannotStart(
                f"Gallery already runs in {home.path}, on port {running.api_port}: {_describe_holder(running)}."
            )
        await _wait_for_lock(home, last)
    with held:
        yield held


@asynccontextmanager
async def lock_or_share(
    data_dir: Path, command: str, timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> AsyncIterator["DirectoryLock | SharedLock"]:
    """Hold the directory, or visit whoever does. Raises `CannotStart`."""
    home, last = DataDir.open(data_dir), time.monotonic() + timeout_seconds
    while not (place := await DirectoryLock.try_acquire(home, command) or SharedLock.try_acquire(home)):
        await _wait_for_lock(home, last)
    with place:
        yield place


class DirectoryLock:
    """The right to run servers in the directory. `last` is what the holder before us left in the run file."""

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
        """Tell the other commands what runs here, in fields of `RunInfo`. With the first word they come: the URLs."""
        self.run_info = msgspec.structs.replace(self.run_info, **facts)
        _write_run_file(self.data_dir.run_file, self.run_info)

    async def wait_until_unused(self) -> None:
        """Wait until no other command uses our servers; none can come from then on."""
        waiting = False
        while (lock := _flock(self.data_dir.path / "visitors", fcntl.LOCK_EX)) is None:
            if not waiting:
                log.info("servers.still_used", data_dir=str(self.data_dir.path))
            waiting = True
            await asyncio.sleep(POLL_SECONDS)
        self._locks.append(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _write_run_file(self.data_dir.run_file, RunInfo(ports=self.run_info.ports, secrets=self.run_info.secrets))
        for lock in reversed(self._locks):  # the door opens last, when the run file no longer invites
            os.close(lock)

    async def _end_leftover_processes(self) -> None:
        """A killed holder's processes end with it, but perhaps slowly: they must not meet the new ones."""
        left = [process for process in self.previous.processes.values() if process.alive]
        signals = (signal.SIGTERM, signal.SIGKILL)
        await asyncio.gather(
            *(processes.terminate(each.pid, each.wait(), signals, STOP_TIMEOUT_SECONDS) for each in left)
        )


class SharedLock:
    """The use of servers that another command runs; it does not stop them while we are here."""

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


async def _wait_for_lock(data_dir: DataDir, last: float) -> None:
    if time.monotonic() > last:
        raise CannotStart(
            f"The data directory {data_dir.path} is in use by {_describe_holder(find_running(data_dir.path))}."
        )
    await asyncio.sleep(POLL_SECONDS)


def _restrict_permissions(path: Path) -> None:
    """What a version before has left open to other users. The object store closes its own folder, `objects`."""
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
    """A descriptor that holds the lock until it is closed; None if somebody else holds it."""
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
    except (FileNotFoundError, msgspec.DecodeError):  # the first start; a power cut
        return RunInfo()


def _write_run_file(run_file: Path, running: RunInfo) -> None:
    fresh = run_file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)  # private before there is a password in it
    fresh.write_bytes(msgspec.json.encode(running))
    fresh.replace(run_file)
