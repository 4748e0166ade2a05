"""Processes: identifying them, ending them, and ending this one together with its parent."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from msgspec import Struct

PARENT_VARIABLE = "_GALLERY_PARENT"  # holds the pid of the process that a child must not outlive
PR_SET_PDEATHSIG = 1  # linux/prctl.h
POLL_SECONDS = 0.02


class ProcessRef(Struct, frozen=True):
    """A process, not only a child; its start time tells it from a later one with the same pid."""

    pid: int
    birth: str

    @classmethod
    def find(cls, pid: int) -> Self | None:
        birth = _birth(pid)
        return cls(pid, birth) if birth else None

    @property
    def alive(self) -> bool:
        return _birth(self.pid) == self.birth

    async def wait(self) -> None:
        while self.alive:  # noqa: ASYNC110 only the end of a child is signalled
            await asyncio.sleep(POLL_SECONDS)


async def terminate_child(child: asyncio.subprocess.Process, signals: Sequence[int], seconds: float) -> None:
    """End a child that leads its own group, if it is alive, and kill the rest of its group."""
    if child.returncode is None:
        await terminate(child.pid, child.wait(), signals, seconds)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


async def terminate(pid: int, exited: Awaitable[object], signals: Sequence[int], seconds: float) -> None:
    """Send `signals` one after another, each with `seconds` to take effect, until `exited` is done."""
    ended = asyncio.ensure_future(exited)
    try:
        for number in signals:
            send_signal(pid, number)
            await asyncio.wait({ended}, timeout=seconds)
            if ended.done():
                return
    finally:
        ended.cancel()


def send_signal(pid: int, signal_number: int) -> None:
    """Signal a process if it exists. SIGKILL goes to the whole group that it leads, so that none of it stays."""
    with suppress(ProcessLookupError):
        if signal_number == signal.SIGKILL and os.getpgid(pid) == pid:
            os.killpg(pid, signal_number)
        else:
            os.kill(pid, signal_number)


def command_line(pid: int) -> str:
    """The process's arguments, joined by spaces; empty if it does not exist."""
    if sys.platform != "linux":
        return _ps(pid, "command=")
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def is_suspended(pid: int) -> bool:
    """Whether a signal such as SIGSTOP has stopped the process; False where there is no /proc."""
    fields = _stat_fields(pid)
    return fields is not None and fields[0] == "T"


def exit_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Let this process get `signal_number` as soon as the Gallery process that started it is dead, for any reason.

    Without such a parent (started by hand, by systemd, by Kubernetes) it does nothing. To be called once, early, from
    the main thread: Linux drops the setting at a fork, and binds it to the *thread* that started this process, so a
    supervisor has to start its children from a thread that lives as long as itself (the event loop's).
    """
    parent = int(os.environ.get(PARENT_VARIABLE) or 0)
    if not parent:
        return
    if sys.platform != "linux":
        threading.Thread(target=_watch_parent, args=(parent, signal_number), daemon=True).start()
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:  # the parent died before the call above
        os.kill(os.getpid(), signal_number)


def _watch_parent(parent: int, number: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), number)


def _birth(pid: int) -> str | None:
    """The start time of the process, unique among processes of this pid; None if it is dead or a zombie."""
    if sys.platform != "linux":
        return _ps(pid, "lstart=") or None
    fields = _stat_fields(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return f"{_boot_id()}/{fields[19]}"


def _stat_fields(pid: int) -> list[str] | None:
    """The fields from the third (the state) on; the 22nd is the start time: proc_pid_stat(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _ps(pid: int, column: str) -> str:
    return subprocess.run(["/bin/ps", "-o", column, "-p", str(pid)], capture_output=True, text=True).stdout.strip()  # noqa: S603, PLW1510 a dead pid is a valid result
