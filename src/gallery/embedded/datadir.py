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
from gallery.embedded.processes import Process
from gallery.errors import CannotStart
from gallery.local_disk import private

POLL = 0.05
GRACE = 3.0  # seconds for what a killed holder left to end by itself
WALKED = {"logs", "postgres", "valkey"}  # a few thousand files at most
PATIENCE = 60.0  # seconds for another command to start the servers or to leave

log = structlog.get_logger()


@dataclass(frozen=True)
class DataDir:
    path: Path

    @classmethod
    def open(cls, path: Path) -> Self:
        """The directory at `path`, made where missing. Raises `CannotStart`."""
        path = path.absolute()
        try:
            private.make(
                path, private.PASSABLE
            )  # as root, the servers run as another user; each part is private itself
            if (path / "lock").exists():
                _close(path)
            private.make(path / "logs")
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


class Running(Struct, frozen=True, omit_defaults=True):
    """What the run file says. It stays when its holder has gone: the next one takes the same ports if it can."""

    holder: Process | None = None
    command: str = ""
    database_url: str | None = None
    redis_url: str | None = None
    api_port: int | None = None
    ports: dict[str, int] = {}
    processes: dict[str, Process] = {}  # of ours; the servers keep pid files of their own
    secrets: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Running(command={self.command!r}, holder={self.holder!r})"  # the rest holds passwords


def attach(data_dir: Path) -> Running | None:
    """What runs in `data_dir`, if somebody holds it and all is ready."""
    running = _read(data_dir / "run.json")
    return running if running.holder and running.holder.alive else None


@asynccontextmanager
async def hold(data_dir: Path, command: str, patience: float = PATIENCE) -> AsyncIterator["Hold"]:
    """Hold the directory alone; another command's short use of it is waited for. Raises `CannotStart`."""
    home, last = DataDir.open(data_dir), time.monotonic() + patience
    while not (held := await Hold.take(home, command)):
        running = attach(home.path)
        if running and running.api_port:
            raise CannotStart(f"Gallery already runs in {home.path}, on port {running.api_port}: {_who(running)}.")
        await _pause(home, last)
    with held:
        yield held


@asynccontextmanager
async def enter(data_dir: Path, command: str, patience: float = PATIENCE) -> AsyncIterator["Hold | Visit"]:
    """Hold the directory, or visit whoever does. Raises `CannotStart`."""
    home, last = DataDir.open(data_dir), time.monotonic() + patience
    while not (place := await Hold.take(home, command) or Visit.join(home)):
        await _pause(home, last)
    with place:
        yield place


class Hold:
    """The right to run servers in the directory. `last` is what the holder before us left in the run file."""

    def __init__(self, home: DataDir, lock: int, command: str) -> None:
        self.home = home
        self.last = _read(home.run_file)
        self.running = Running(Process.of(os.getpid()), command, ports=self.last.ports, secrets=self.last.secrets)
        self._locks = [lock]

    @classmethod
    async def take(cls, home: DataDir, command: str) -> Self | None:
        lock = _flock(home.path / "lock", fcntl.LOCK_EX)
        if lock is None:
            return None
        try:
            held = cls(home, lock, command)
            await held._end_what_was_left()
        except BaseException:
            os.close(lock)
            raise
        return held

    def publish(self, **facts: Any) -> None:
        """Tell the other commands what runs here, in fields of `Running`. With the first word they come: the URLs."""
        self.running = msgspec.structs.replace(self.running, **facts)
        _write(self.home.run_file, self.running)

    async def visitors_gone(self) -> None:
        """Wait until no other command uses our servers; none can come from then on."""
        waiting = False
        while (lock := _flock(self.home.path / "visitors", fcntl.LOCK_EX)) is None:
            if not waiting:
                log.info("servers.still_used", data_dir=str(self.home.path))
            waiting = True
            await asyncio.sleep(POLL)
        self._locks.append(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _write(self.home.run_file, Running(ports=self.running.ports, secrets=self.running.secrets))
        for lock in reversed(self._locks):  # the door opens last, when the run file no longer invites
            os.close(lock)

    async def _end_what_was_left(self) -> None:
        """A killed holder's processes end with it, but perhaps slowly: they must not meet the new ones."""
        left = [process for process in self.last.processes.values() if process.alive]
        signals = (signal.SIGTERM, signal.SIGKILL)
        await asyncio.gather(*(processes.end(each.pid, each.gone(), signals, GRACE) for each in left))


class Visit:
    """The use of servers that another command runs; it does not stop them while we are here."""

    def __init__(self, running: Running, lock: int) -> None:
        self.running = running
        self._lock = lock

    @classmethod
    def join(cls, home: DataDir) -> Self | None:
        lock = _flock(home.path / "visitors", fcntl.LOCK_SH)
        if lock is None:
            return None
        running = attach(home.path)
        if running is None:
            os.close(lock)
            return None
        return cls(running, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)


async def _pause(home: DataDir, last: float) -> None:
    if time.monotonic() > last:
        raise CannotStart(f"The data directory {home.path} is in use by {_who(attach(home.path))}.")
    await asyncio.sleep(POLL)


def _close(path: Path) -> None:
    """What a version before has left open to other users. The object store closes its own folder, `objects`."""
    if private.is_open(path):
        private.close(path, private.OTHERS_LOOK_OR_WRITE)
    for part in path.iterdir():
        if part.name in WALKED:
            private.close_tree(part)
        elif part.name != "objects":
            private.close(part)


def _who(running: Running | None) -> str:
    return f"{running.command} (pid {running.holder.pid})" if running and running.holder else "another process"


def _flock(path: Path, how: int) -> int | None:
    """A descriptor that holds the lock until it is closed; None if somebody else holds it."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _read(run_file: Path) -> Running:
    try:
        return msgspec.json.decode(run_file.read_bytes(), type=Running)
    except (FileNotFoundError, msgspec.DecodeError):  # the first start; a power cut
        return Running()


def _write(run_file: Path, running: Running) -> None:
    fresh = run_file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)  # private before there is a password in it
    fresh.write_bytes(msgspec.json.encode(running))
    fresh.replace(run_file)
