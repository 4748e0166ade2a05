"""The system calls of a real process in their order: recorded by strace, read back with their begin and end."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from gallery.adapters.objects.files import SPOOL_FOLDER

WATCHED = "trace=write,writev,sendto,sendmsg,read,recvfrom,fsync,fdatasync,link,linkat,rename,unlink,execve"
STRACE_OPTIONS = ("-f", "-y", "-s", "300", "-e", WATCHED, "-e", "signal=none")
LINE_PATTERN = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)")
UNFINISHED_SUFFIX = " <unfinished ...>"


class Call(NamedTuple):
    """A system call with its arguments and its result; `begin` and `end` are line numbers in the record."""

    name: str
    text: str
    begin: int
    end: int

    @property
    def succeeded(self) -> bool:
        return not self.text.rpartition("= ")[2].startswith("-1")


class Record:
    def __init__(self, text: str) -> None:
        self.calls = sorted(_parse_calls(text), key=lambda call: call.end)

    def all(self, name: str, *words: str) -> list[Call]:
        """The successful calls of that name whose text contains these words."""
        return [
            call
            for call in self.calls
            if call.name == name and call.succeeded and all(word in call.text for word in words)
        ]

    def first(self, name: str, *words: str, after: int = -1) -> Call:
        found = [call for call in self.all(name, *words) if call.begin > after]
        assert found, f"no {name} with {words} after {after}"
        return found[0]

    def check_durable(self, root: Path, before: int) -> list[str]:
        """Checks each file linked below `root` before the call number `before`: it was synced before its link, and its
        folder and those above between the link and `before`. Returns the linked names.
        """
        names = []
        for call in [*self.all("link", f'"{root}/'), *self.all("linkat", f'"{root}/')]:
            spool, target = (Path(path) for path in re.findall(r'"([^"]+)"', call.text)[:2])
            if call.end > before or target.parent.name == SPOOL_FOLDER:  # the latter tries whether it may be linked
                continue
            unnamed = spool.parent == Path("/proc/self/fd")
            synced = self.first("fsync", f"{spool.name}<" if unnamed else f"<{spool}>")
            assert synced.end < call.begin, f"{target} is there before its bytes"
            for folder in _up_to(root, target.parent):
                synced = self.first("fsync", f"<{folder}>)", after=call.end if folder == target.parent else -1)
                assert synced.end < before, f"the name {target} is not synced before {before}: {folder}"
            names.append(target.relative_to(root).as_posix())
        return names


@asynccontextmanager
async def record_process(pid: int, file: Path) -> AsyncIterator[None]:
    """Record a process and its threads while the block runs; read the record afterwards."""
    process = await asyncio.create_subprocess_exec(
        _strace(), *STRACE_OPTIONS, "-o", file, "-p", f"{pid}", stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    message = (await process.stderr.readline()).decode()
    if "attached" not in message:
        await process.wait()
        pytest.skip(f"no process may be traced here: {message}")
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()


def strace_command(file: Path) -> list[str]:
    """The strace command line to put before a command, to record all of it."""
    return [_strace(), *STRACE_OPTIONS, "-o", str(file)]


def _strace() -> str:
    strace = shutil.which("strace") or pytest.skip("there is no strace")
    if subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True).returncode:  # noqa: PLW1510
        pytest.skip("no process may be traced here")
    return strace


def _up_to(root: Path, folder: Path) -> Iterator[Path]:
    while folder != root.parent:
        yield folder
        folder = folder.parent


def _parse_calls(text: str) -> Iterator[Call]:
    begun: dict[str, tuple[str, str, int]] = {}
    for place, line in enumerate(text.splitlines()):
        if not (match := LINE_PATTERN.match(line)):
            continue
        process, resumed, name, rest = match.groups()
        if resumed:
            name, before, begin = begun.pop(process, (resumed, "", place))
            yield Call(name, before + rest, begin, place)
        elif rest.endswith(UNFINISHED_SUFFIX):
            begun[process] = (name, rest.removesuffix(UNFINISHED_SUFFIX), place)
        else:
            yield Call(name, rest, place, place)
