"""The load: requests from `http_load.c`, compiled when needed, and the CPU that each server spends on them."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psutil

SOURCES = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
MIN_READS = 3000  # in a turn: the kernel's accounts count in steps of 10 ms
PEER = "peer"  # the implementation of AGAINST


@dataclass(frozen=True)
class Target:
    """A server under load: where it listens, and the processes whose CPU counts, by name; the first is its own."""

    name: str
    port: int
    processes: Mapping[str, int]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """A request that is repeated on some connections; a body has digits at an offset that are other ones each time."""

    name: str
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    connections: int = 32
    body: bytes | None = None
    digits_at: int = 0


@dataclass(frozen=True)
class Sample:
    """One run: requests a second, microseconds of CPU a request by process, and milliseconds of latency."""

    rate: float
    cpu: Mapping[str, float]
    load_cpu: float
    latency: Mapping[str, float]
    realtime: bool = False  # whether the load generator had real-time priority

    @property
    def own_cpu(self) -> float:
        return next(iter(self.cpu.values()))


class UnexpectedAnswer(Exception):
    """The server did not answer every request with the expected status."""


async def run_load(
    target: Target, operation: Operation, count: int, rate: float = 0, *, realtime: bool = False
) -> Sample:
    """`count` requests, in a closed loop or at `rate` a second. Raises `UnexpectedAnswer`.

    With `realtime` the load generator waits for no core, where it has the privilege: a latency is the server's alone.
    """
    async with _load(target, operation, count, rate) as process:
        granted = realtime and _set_realtime(process.pid)
        before = cpu_seconds(target.processes)
        found = await _report(process, f"{operation.name} at {target.name}")
        after = cpu_seconds(target.processes)
    if found["errors"] or set(found["statuses"]) != {str(operation.status)}:
        raise UnexpectedAnswer(f"{operation.name} at {target.name}: {found['statuses']}, {found['errors']} errors")
    return Sample(
        rate=count / found["seconds"],
        cpu={name: (after[name] - before[name]) * 1e6 / count for name in before},
        load_cpu=found["cpu_us"],
        latency={part: found[f"{part}_ms"] for part in ("p50", "p99", "p999", "max")},
        realtime=granted,
    )


def _set_realtime(pid: int) -> bool:
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


@asynccontextmanager
async def flood(target: Target, operation: Operation) -> AsyncIterator[Counter[int]]:
    """Requests in a closed loop while the block lasts, each path once at most; then the answers by their status.

    Raises `UnexpectedAnswer` if the paths did not last as long as the block.
    """
    answers, name = Counter[int](), f"{operation.name} at {target.name}"
    async with _load(target, operation, len(operation.paths)) as process:
        yield answers
        if process.returncode is not None:
            raise UnexpectedAnswer(f"{name}: all {len(operation.paths)} requests were answered too early")
        process.terminate()
        found = await _report(process, name)
        answers.update({int(status): count for status, count in found["statuses"].items()})


@asynccontextmanager
async def _load(
    target: Target, operation: Operation, count: int, rate: float = 0
) -> AsyncIterator[asyncio.subprocess.Process]:
    with tempfile.TemporaryDirectory(prefix="gallery-load-") as folder:
        head, body = Path(folder) / "head", Path(folder) / "body"
        head.write_bytes(_head(target, operation))
        body.write_bytes(operation.body or b"")
        words = (target.port, min(operation.connections, count), count, rate, head, body if operation.body else "-")
        process = await asyncio.create_subprocess_exec(
            compiled("http_load"),
            *map(str, (*words, operation.digits_at)),
            *operation.paths,
            stdout=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _report(process: asyncio.subprocess.Process, name: str) -> Any:
    """What the load generator has printed at its end. Raises `UnexpectedAnswer`."""
    out, _ = await process.communicate()
    if process.returncode:
        raise UnexpectedAnswer(f"{name}: the load generator ended with {process.returncode}")
    return json.loads(out)


def _head(target: Target, operation: Operation) -> bytes:
    headers = {"Host": f"127.0.0.1:{target.port}", **target.headers, **operation.headers}
    if operation.body is not None:
        headers["Content-Length"] = str(len(operation.body))
    lines = (f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{'GET' if operation.body is None else 'POST'} {{}} HTTP/1.1\r\n{''.join(lines)}\r\n".encode()


async def measure_in_turns(
    pairs: Sequence[tuple[Target, Operation]], rounds: int, seconds: float = 1, count: int | None = None
) -> dict[tuple[str, str], list[Sample]]:
    """Samples by target and operation. In each round every pair has its turn, forwards and backwards in alternation.

    A turn has `count` requests, or as many as took `seconds` in a first run that does not count, and `MIN_READS` at
    least. Before each turn reads have some requests that do not count either, so that no turn pays for what ran out in
    those between. What the peer does not have is left out, with a line.
    """
    turns = []
    for target, operation in pairs:
        try:
            warm = await _warm_up(target, operation)
        except UnexpectedAnswer as error:
            if target.name != PEER:
                raise
            print(f"left out: {error}", file=sys.stderr)
        else:
            turns.append((target, operation, count or max(MIN_READS, int(warm.rate * seconds))))
    found: dict[tuple[str, str], list[Sample]] = {(target.name, operation.name): [] for target, operation, _ in turns}
    for number in range(rounds):
        for target, operation, requests in turns if number % 2 else reversed(turns):
            if operation.body is None:
                await _warm_up(target, operation)
            found[target.name, operation.name].append(await run_load(target, operation, requests))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


async def _warm_up(target: Target, operation: Operation) -> Sample:
    """Requests that do not count: each read's path several times."""
    return await run_load(target, operation, max(operation.connections, 16) * (1 if operation.body else 8))


def cpu_seconds(processes: Mapping[str, int]) -> dict[str, float]:
    """User and system CPU of each process, of those below it, and of those below it that have ended."""
    return {name: sum(map(_cpu_of_one, _family(pid))) for name, pid in processes.items()}


def _cpu_of_one(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS  # utime, stime, cutime, cstime


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def memory_bytes(pid: int) -> int:
    """The resident memory of a process and those below it."""
    return sum(psutil.Process(one).memory_info().rss for one in _family(pid))


def median(samples: Sequence[Sample], figure: str = "own_cpu") -> float:
    return statistics.median(getattr(sample, figure) for sample in samples)


@cache
def compiled(name: str) -> Path:
    """The program of `bench/NAME.c`, compiled by `cc` beside the other tools' files."""
    source = SOURCES / f"{name}.c"
    program = SOURCES / "build" / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program
