"""The supervisor: starts processes, restarts those that die, and ends them in order.

Each `Child` defines its start and its readiness: the embedded servers do, and so does a `Command`, one of Gallery's own
processes. A child that cannot start at all needs the operator and ends everything; one that ran and died is restarted,
for as long as it takes, while the others run on.
"""

import asyncio
import itertools
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from gallery.background import run_in_background
from gallery.embedded import processes
from gallery.errors import CannotStart, StartAgain

CONFIGURATION_ERROR = 2  # exit code of a command that has named the wrong setting on stderr
MIN_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 5.0
STABLE_AFTER_SECONDS = 10.0  # a process that ran this long is restarted at once
READY_TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.05
STOPPED_CHECK_SECONDS = 5.0

log = structlog.get_logger()


class Child(Protocol):
    """A process to be supervised. Each of `stop_signals` gets `stop_seconds` to take effect before the next is sent."""

    @property
    def name(self) -> str: ...
    @property
    def stop_signals(self) -> Sequence[int]: ...
    @property
    def stop_seconds(self) -> float: ...

    async def start(self) -> Process:
        """Start it in a session of its own: the supervisor itself passes on a terminal's Ctrl-C."""
        ...

    async def ready(self, process: Process) -> None:
        """Return when it is ready, or has ended with an exit code that explains it; else raise `CannotStart`.

        Raise `StartAgain` for a child that has ended and will not fail for the same reason again.
        """
        ...


async def always_ready() -> bool:
    return True


@dataclass(frozen=True)
class Command:
    """A part of Gallery as its own process, e.g. `Command("api", gallery_command("serve"), probe=is_live)`."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    probe: Callable[[], Awaitable[bool]] = always_ready
    pass_fds: Sequence[int] = ()
    stop_signals: Sequence[int] = (signal.SIGTERM, signal.SIGKILL)
    stop_seconds: float = 30.0

    async def start(self) -> Process:
        environment = {**self.environment, processes.PARENT_VARIABLE: str(os.getpid())}
        return await asyncio.create_subprocess_exec(
            *self.argv, stdin=DEVNULL, env=environment, pass_fds=self.pass_fds, start_new_session=True
        )

    async def ready(self, process: Process) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                while process.returncode is None and not await self.probe():  # noqa: ASYNC110 the probed state is outside this process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise CannotStart(f"{' '.join(self.argv)} did not answer in {READY_TIMEOUT_SECONDS:.0f} s.") from None


def gallery_command(*args: str) -> list[str]:
    """The command line `gallery …` of this installation."""
    script = Path(sys.executable).parent / "gallery"
    return [str(script), *args] if os.access(script, os.X_OK) else [sys.executable, "-m", "gallery", *args]


class Supervisor:
    def __init__(self, on_change: Callable[[dict[str, processes.ProcessRef]], None] = lambda _: None) -> None:
        """`on_change` gets the live processes of all `Command`s each time a process has started or ended."""
        self._on_change = on_change
        self._groups: list[list[SupervisedChild]] = []
        self._exit_code: asyncio.Future[int]
        self._signal_count = 0

    async def run(self, start_children: Callable[["Supervisor"], Awaitable[None]]) -> int:
        """Await `start_children` and supervise its children until a signal. Then end all and return the exit code.

        The last group that was started ends first, its children in parallel. A second Ctrl-C hurries them, a third one
        kills. Errors of `start_children` and a child's `CannotStart` are raised when all has ended.
        """
        self._exit_code = asyncio.get_running_loop().create_future()
        with self._signal_handlers():
            starting = asyncio.ensure_future(start_children(self))
            starting.add_done_callback(self._on_task_done)
            try:
                async with run_in_background(self._report_stopped(), "stopped children"):
                    return await self._exit_code
            except ChildMisconfigured:
                return CONFIGURATION_ERROR
            finally:
                starting.cancel()
                await asyncio.wait({starting})
                await self._stop()

    async def start(self, *children: Child) -> None:
        """Start a group in parallel. Returns when all of it is ready."""
        group = [SupervisedChild(child, self._report_change) for child in children]
        self._groups.append(group)
        for child in group:
            child.task.add_done_callback(self._on_task_done)
        for child in group:
            await child.ready.wait()

    async def _report_stopped(self) -> None:
        """Log children stopped by a signal (SIGSTOP): they neither work nor die. A person did that, so no restart."""
        reported: set[int] = set()
        while True:
            await asyncio.sleep(STOPPED_CHECK_SECONDS)
            names = {child.pid: child.child.name for group in self._groups for child in group if child.pid}
            stopped = {pid for pid in names if processes.is_suspended(pid)}
            for pid in stopped - reported:
                log.error(
                    "child.stopped", child=names[pid], pid=pid, wake=f"kill -CONT {pid}", restart=f"kill -9 {pid}"
                )
            for pid in reported - stopped:
                log.info("child.continued", child=names.get(pid), pid=pid)
            reported = stopped

    async def _stop(self) -> None:
        for group in reversed(self._groups):
            await asyncio.gather(*(child.stop() for child in group))

    def _on_task_done(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) and not self._exit_code.done():
            self._exit_code.set_exception(error)

    def _report_change(self) -> None:
        commands = [child for group in self._groups for child in group if isinstance(child.child, Command)]
        found = {child.child.name: processes.ProcessRef.find(child.pid) for child in commands if child.pid}
        self._on_change({name: process for name, process in found.items() if process})

    @contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else nohup: ignore it
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if not self._exit_code.done():
            self._exit_code.set_result(0)
            return
        self._signal_count += 1
        for child in (child for group in self._groups for child in group if child.pid):
            processes.send_signal(child.pid, child.child.stop_signals[: self._signal_count + 1][-1])


class ChildMisconfigured(CannotStart):
    """A child ended at its first start with `CONFIGURATION_ERROR`, and has printed the reason."""


class SupervisedChild:
    """One child through all its processes."""

    def __init__(self, child: Child, on_change: Callable[[], None]) -> None:
        self.child = child
        self.ready = asyncio.Event()
        self._on_change = on_change
        self._process: Process | None = None
        self.task = asyncio.create_task(self._run())

    @property
    def pid(self) -> int:
        """The running process's, or 0."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await self._end_process()

    async def _run(self) -> None:
        """Start the child, and restart it each time it dies, after ever longer pauses while it dies early."""
        clock = asyncio.get_running_loop().time
        pause = MIN_BACKOFF_SECONDS
        for attempt in itertools.count():
            started_at = clock()
            code = await self._run_once()
            if code == CONFIGURATION_ERROR and attempt == 0:
                raise ChildMisconfigured(f"{self.child.name} cannot start.")
            if clock() - started_at > STABLE_AFTER_SECONDS:
                pause = MIN_BACKOFF_SECONDS
            log.warning("child.exited", child=self.child.name, code=code, again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_BACKOFF_SECONDS)

    async def _run_once(self) -> int | None:
        """One process from start to end. Returns its exit code."""
        try:
            self._process = await self.child.start()
            self._on_change()
            await self.child.ready(self._process)
            self._report_started(self._process)
            await self._process.wait()
        except StartAgain:
            await self._end_process()
            return await self._run_once()
        except (CannotStart, OSError) as error:
            if not self.ready.is_set():  # it was never ready: another try would not help
                raise
            log.error("child.failed", child=self.child.name, reason=getattr(error, "detail", str(error)))  # noqa: TRY400 no traceback needed
        return await self._end_process()

    def _report_started(self, process: Process) -> None:
        if process.returncode is None:
            log.info("child.started", child=self.child.name, pid=process.pid)
            self.ready.set()

    async def _end_process(self) -> int | None:
        """End the process if it is alive, and the rest of its group. Returns its exit code."""
        process = self._process
        if process is None:
            return None
        await processes.terminate_child(process, self.child.stop_signals, self.child.stop_seconds)
        self._process = None
        self._on_change()
        return process.returncode
