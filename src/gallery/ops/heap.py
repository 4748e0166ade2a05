"""The memory of Python objects in a process, requested by a signal and reported in a private file.

Only its own user, or root, can send that signal. The report has types, sizes and lengths, no
contents. The process itself creates it in the temporary directory, and never writes to an existing file. Counting
takes about a second for 200,000 objects, and slows the process meanwhile.
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CoroutineType

import msgspec
import structlog
from msgspec import Struct

from gallery.errors import describe_error
from gallery.ops import collector

log = structlog.get_logger(__name__)

SIGNAL = signal.SIGUSR1
MAX_ENTRIES = 15  # types, and objects, in a report
POLL_SECONDS = 0.05


class TypeUsage(Struct, frozen=True):
    """All objects of a type: their number, and their bytes without the objects that they refer to."""

    type: str
    count: int
    bytes: int


class HeapReport(Struct, frozen=True):
    """The largest types and the largest single objects (with `count` as their length)."""

    pid: int
    objects: int
    bytes: int
    types: list[TypeUsage]
    largest: list[TypeUsage]


def handle_signal() -> None:
    """The signal's handler. Works in a thread, so that the event loop can run meanwhile."""
    threading.Thread(target=write_report, name="heap", daemon=True).start()


def write_report() -> None:
    """Write this process's report."""
    path = _report_path(os.getpid())
    report = msgspec.json.encode(_build_report())
    try:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:  # noqa: PTH123
            file.write(report)
    except OSError as error:
        log.warning("heap.not_written", path=str(path), error=describe_error(error))
    else:
        log.info("heap.written", path=str(path))


async def request_report(pid: int, timeout_seconds: float = 20) -> HeapReport:
    """The report of another process. Raises `ValueError` with a sentence when there is none, and `TimeoutError`."""
    _check_handles_signal(pid)
    path = _report_path(pid)
    with contextlib.suppress(OSError):  # an old report
        path.unlink()
    try:
        os.kill(pid, SIGNAL)
    except PermissionError:
        raise ValueError(f"Process {pid} belongs to another user: run this command as that user.") from None
    async with asyncio.timeout(timeout_seconds):
        while (heap := _read_report(path, pid)) is None:  # noqa: ASYNC110  a new file sends no signal
            await asyncio.sleep(POLL_SECONDS)
    path.unlink()
    return heap


def _check_handles_signal(pid: int) -> None:
    """The signal would kill a process without a handler. Raises `ValueError` for such a process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        raise ValueError(f"Process {pid} does not exist.") from None
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    if not caught >> (SIGNAL - 1) & 1:
        raise ValueError(f"Process {pid} cannot report its memory: choose a gallery serve or a gallery worker process.")


def _read_report(path: Path, pid: int) -> HeapReport | None:
    """`None` until the file is complete, and for a file of another user."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123
            if os.fstat(file.fileno()).st_uid != Path(f"/proc/{pid}").stat().st_uid:
                return None
            return msgspec.json.decode(file.read(), type=HeapReport)
    except (OSError, msgspec.DecodeError):
        return None


def _build_report() -> HeapReport:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    largest: list[TypeUsage] = []
    for one in _all_objects():
        name, size = _type_name(one), _size(one)
        counts[name] += 1
        sizes[name] += size
        if len(largest) < MAX_ENTRIES or size > largest[-1].bytes:
            largest = sorted([*largest, TypeUsage(name, _length(one), size)], key=lambda k: -k.bytes)[:MAX_ENTRIES]
    types = [TypeUsage(name, counts[name], size) for name, size in sizes.most_common(MAX_ENTRIES)]
    return HeapReport(os.getpid(), sum(counts.values()), sum(sizes.values()), types, largest)


def _all_objects() -> Iterator[object]:
    """The collector's objects, and the untracked ones that they lead to: bytes, texts and other plain values."""
    seen: set[int] = set()
    for tracked in collector.find_objects():
        ahead = [tracked]
        while ahead:
            one = ahead.pop()
            if id(one) not in seen:
                seen.add(id(one))
                ahead += [other for other in _referents(one) if not gc.is_tracked(other)]
                yield one


def _referents(one: object) -> list[object]:
    """Includes the variables of a running coroutine, which the collector does not see."""
    found = gc.get_referents(one)
    if isinstance(one, CoroutineType) and one.cr_running and one.cr_frame is not None:
        found += one.cr_frame.f_locals.values()
    return found


def _type_name(one: object) -> str:
    kind = type(one)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _size(one: object) -> int:
    """In bytes; `sys.getsizeof` tells no size of a `msgspec.Raw` (msgspec 0.22)."""
    return memoryview(one).nbytes if isinstance(one, msgspec.Raw) else sys.getsizeof(one, 0)


def _length(one: object) -> int:
    return len(one) if isinstance(one, (bytes, bytearray, str, list, dict, set, tuple)) else 1


def _report_path(pid: int) -> Path:
    return Path(tempfile.gettempdir()) / f"gallery-heap-{pid}.json"
