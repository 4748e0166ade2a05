"""Gallery's real processes, started as an operator starts them and ended by process id."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from http_clients import TLS_CONTEXT

PORTS = range(10_000, 20_000)  # below those from which the kernel takes one for each connection
MAX_XDIST_WORKERS = 8  # of pytest-xdist, of which each has its own ports
_given: set[int] = set()

STOP_SECONDS = 35  # longer than a server waits for its requests

GALLERY = Path(sys.executable).parent / "gallery"


def base_environment() -> dict[str, str]:
    """The environment that a process needs, without settings of Gallery."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONFAULTHANDLER": "1"}


@dataclass
class RunningProcess:
    """A process and its log (stderr)."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's JSON lines, or those of one event."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if event is None or line["event"] == event]

    def log_text(self) -> str:
        return self.log.read_text()

    async def wait_for_event(self, event: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for an event in the log."""
        async with asyncio.timeout(seconds):
            while not (found := self.log_lines(event)):
                if self.process.returncode is not None:
                    raise AssertionError(f"ended with {self.process.returncode}:\n{self.log_text()}")
                await asyncio.sleep(0.02)
        return found[-1]

    async def wait_for_text(self, text: str, seconds: float = 60) -> None:
        """Wait for a text in the output."""
        async with asyncio.timeout(seconds):
            while text not in self.log_text():
                if self.process.returncode is not None:
                    raise AssertionError(f"ended with {self.process.returncode}:\n{self.log_text()}")
                await asyncio.sleep(0.02)

    async def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(seconds):
            return await self.process.wait()


@dataclass
class RunningGallery(RunningProcess):
    url: str = ""
    data: Path = field(default_factory=Path)

    def find_child(self, *words: str) -> psutil.Process:
        """The child whose command line contains these words in a row; a program counts with or without its folder."""
        children = psutil.Process(self.pid).children(recursive=True)
        return next(c for c in children if _contains(command_line(c).split(), words))


def _contains(line: Sequence[str], words: Sequence[str]) -> bool:
    names = [word.rpartition("/")[2] for word in line]
    return any(names[at : at + len(words)] == list(words) for at in range(len(names)))


def command_line(process: psutil.Process) -> str:
    """Its command line; nothing when it has ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@asynccontextmanager
async def run_gallery(
    environment: Mapping[str, str], folder: Path, *arguments: str, max_files: int | None = None
) -> AsyncIterator[RunningProcess]:
    """`gallery …` until the end of the block, which it must survive or end by itself; with so many files at most."""
    folder.mkdir(exist_ok=True)
    log = folder / f"{'-'.join(arguments[:1])}-{len(list(folder.iterdir()))}.log"
    with log.open("wb") as stderr:
        limited = ("prlimit", f"--nofile={max_files}") if max_files else ()
        process = await asyncio.create_subprocess_exec(
            *limited, GALLERY, *arguments, env={"PORT": str(free_port()), **environment}, stderr=stderr, stdout=stderr
        )
    try:
        yield RunningProcess(process, log)
    finally:
        await _end(process)


@asynccontextmanager
async def dev(environment: Mapping[str, str], folder: Path, **overrides: str) -> AsyncIterator[RunningGallery]:
    """`gallery dev` on a free port, ready."""
    data = folder / "data"
    given = {**environment, "GALLERY_DATA_DIR": str(data), "PORT": str(free_port()), **overrides}
    async with run_gallery(given, folder, "dev") as process:
        url = f"http://127.0.0.1:{given['PORT']}"
        await process.wait_for_text(f"Gallery is at {url}")  # a killed predecessor may answer for a moment longer
        await wait_until_ready(url, process, may_be_killed="GALLERY_FAULT" in given)
        yield RunningGallery(process.process, process.log, url, data)


@asynccontextmanager
async def api(
    environment: Mapping[str, str], folder: Path, *, max_files: int | None = None, **overrides: str
) -> AsyncIterator[RunningGallery]:
    """`gallery serve` on a free port, ready; with a failpoint, clients may have killed it before that was seen."""
    given = {**environment, "PORT": str(free_port()), **overrides}
    async with run_gallery(given, folder, "serve", max_files=max_files) as process:
        url = f"http://127.0.0.1:{given['PORT']}"
        await wait_until_ready(url, process, may_be_killed="GALLERY_FAULT" in given)
        yield RunningGallery(process.process, process.log, url)


@asynccontextmanager
async def worker(environment: Mapping[str, str], folder: Path, *words: str) -> AsyncIterator[RunningProcess]:
    async with run_gallery(environment, folder, "worker", *words) as process:
        await process.wait_for_event("worker.working")
        yield process


async def wait_until_ready(
    url: str, process: RunningProcess, seconds: float = 60, *, may_be_killed: bool = False
) -> None:
    async with httpx.AsyncClient(timeout=5, verify=TLS_CONTEXT) as client, asyncio.timeout(seconds):
        while True:
            if may_be_killed and process.process.returncode == -signal.SIGKILL:
                return
            if process.process.returncode is not None:
                raise AssertionError(f"ended with {process.process.returncode}:\n{process.log_text()}")
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)


def free_port() -> int:
    """A port that no other test gets, in any test process."""
    own = PORTS[int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % MAX_XDIST_WORKERS :: MAX_XDIST_WORKERS]
    for port in random.sample(own, len(own)):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.send_signal(signal.SIGABRT)  # its log then says where it was
        await process.wait()
        raise AssertionError(f"a process did not end within {STOP_SECONDS} s of SIGTERM") from None
    finally:
        for child in below:
            if child.is_running():
                os.kill(child.pid, signal.SIGKILL)
