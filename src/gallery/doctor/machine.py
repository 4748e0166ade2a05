"""Checks of the machine and the settings."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import httpx

from gallery.access.open_mode import is_loopback, is_open
from gallery.doctor.model import CheckContext, Verdict, notice, skipped, well, wrong
from gallery.ops.capacity import capacity, file_limits
from gallery.renderers.confinement import examine
from gallery.renderers.pool import open_renderers
from gallery.settings import Settings, find_unknown_variables

GIB = 1024**3
MIN_FREE_DISK_BYTES = 0.5 * GIB
MIN_FREE_MEMORY_RATIO = 0.05
MIN_OPEN_FILES = 1024
SHARED_MEMORY, MIN_SHARED_MEMORY_BYTES = Path("/dev/shm"), 32 * 1024**2  # noqa: S108  PostgreSQL uses it
CGROUP = Path("/sys/fs/cgroup")
CHECK_BY_SERVICE = {"postgresql": "postgresql", "valkey": "valkey", "objects": "store"}  # by the names of /readyz
UNCONFINED_ACTIONS = {
    "privileges": "use or gain privileges",
    "files": "read and write its worker's files",
    "programs": "run programs",
    "network": "open TCP connections",
}


async def data_directory(context: CheckContext) -> Verdict:
    """The directory of embedded servers and of objects in files; its default depends on the working directory."""
    here = context.settings
    path = here.data_path.absolute()
    if context.running is not None:
        return well(f"{path}, in use by a running Gallery.", path=f"{path}")
    if here.database.url is not None:
        return well(f"{path}.", path=f"{path}")
    state = "no Gallery runs in this directory" if path.exists() else "the directory does not exist"
    return notice(
        f"{path}: {state}.", "Set GALLERY_DATA_DIR if Gallery runs in another data directory.", path=f"{path}"
    )


async def settings(context: CheckContext) -> Verdict:
    """Unknown variables, and unsafe values."""
    if unknown := find_unknown_variables(context.environment):
        names = ", ".join(f"{name} (meant {near}?)" if near else name for name, near in unknown.items())
        return wrong(f"Unknown setting: {names}.", "Correct the name or unset it: it has no effect.", names=[*unknown])
    here = context.settings
    if here.fault:
        return wrong(f"GALLERY_FAULT is {here.fault}: processes kill themselves.", "Unset it: it is for tests only.")
    reachable = not is_loopback(here.host)
    if reachable and is_open(here):
        return wrong(
            f"Gallery listens on {here.host} in open mode: every client may read and delete everything.",
            "Set GALLERY_ACCESS__OPEN=false and create keys with gallery keys create.",
        )
    if reachable and here.rate.enabled is False:
        return notice("Rate limits are off.", "Unset GALLERY_RATE__ENABLED.")
    if endpoint := _unencrypted_endpoint(here):
        return notice(f"The connection to {endpoint} is unencrypted.", "Use TLS unless the network is private.")
    return well("All settings are known and safe.")


async def memory(context: CheckContext) -> Verdict:
    """The free memory of the machine or the container, compared with the limit of the renderers."""
    total, free = _memory_bytes()
    if free < total * MIN_FREE_MEMORY_RATIO:
        return wrong(
            f"Only {free / GIB:.1f} of {total / GIB:.1f} GiB of memory are free.",
            "Find the largest process and run gallery doctor --heap PID, or add memory.",
            free=free,
            total=total,
        )
    worker = context.settings.worker
    needed = worker.concurrency * worker.memory
    if needed > total:
        return notice(
            f"{worker.concurrency} renderers may use {needed / GIB:.1f} of {total / GIB:.1f} GiB of memory.",
            "Lower GALLERY_WORKER__CONCURRENCY, or GALLERY_WORKER__MEMORY (then the largest pictures are refused).",
        )
    renderers = f"{worker.concurrency} renderers may use {needed / GIB:.1f}"
    return well(f"{free / GIB:.1f} of {total / GIB:.1f} GiB are free; {renderers}.", free=free, total=total)


async def disk(context: CheckContext) -> Verdict:
    """Free disk space for embedded data, objects, and uploads and renditions in progress."""
    folders = {
        "the temporary directory": Path(tempfile.gettempdir()),
        "the data directory": _nearest_existing(context.settings.data_path),
    }
    free = {name: (path, (await asyncio.to_thread(shutil.disk_usage, path)).free) for name, path in folders.items()}
    name, (path, least) = min(free.items(), key=lambda entry: entry[1][1])
    if least < MIN_FREE_DISK_BYTES:
        return wrong(
            f"Only {least / GIB:.2f} GiB are free in {name}, {path}.",
            "Delete files that are not needed, or move the directory to a larger disk (GALLERY_DATA_DIR, TMPDIR).",
            free=least,
        )
    sentences = [f"{size / GIB:.1f} GiB are free in {name}, {path}" for name, (path, size) in free.items()]
    return well("; ".join(sentences) + ".", free=least)


async def shared_memory(context: CheckContext) -> Verdict:
    """Shared memory for the embedded PostgreSQL; a container has 64 MiB by default."""
    if context.settings.database.url is not None:
        return skipped("PostgreSQL is not embedded")
    free = (await asyncio.to_thread(shutil.disk_usage, SHARED_MEMORY)).free
    if free < MIN_SHARED_MEMORY_BYTES:
        return wrong(
            f"Only {free / 1024**2:.0f} MiB of shared memory are free.",
            "Raise the container's --shm-size or shm_size.",
            free=free,
        )
    return well(f"{free / 1024**2:,.0f} MiB of shared memory are free.", free=free)


async def limits(context: CheckContext) -> Verdict:
    """The limit of open files: each event stream takes one. `gallery serve` raises the soft limit to the hard one."""
    soft, hard = file_limits()
    here = context.settings.notifications
    most = here.max_streams or capacity(soft).streams
    if soft < MIN_OPEN_FILES:
        return wrong(
            f"A process may open {soft} files, and {most} event streams.",
            "Raise the hard limit: ulimit -Hn, LimitNOFILE= of systemd, or the container's ulimits.",
            soft=soft,
            hard=hard,
        )
    if most > capacity(soft).connections:
        return wrong(
            f"{most:,} event streams leave none of the process's {soft:,} files for other requests.",
            "Lower GALLERY_NOTIFICATIONS__MAX_STREAMS, or raise the limit of open files.",
            soft=soft,
            hard=hard,
        )
    return well(f"A process may open {soft:,} files, and {most:,} event streams.", soft=soft, hard=hard, streams=most)


async def processes(context: CheckContext) -> Verdict:
    """Whether the API of a running `gallery dev` is ready."""
    running = context.running
    if running is None or running.api_port is None:
        return skipped(f"no gallery dev runs in {context.settings.data_path}")
    url = f"http://127.0.0.1:{running.api_port}/readyz"
    try:
        async with httpx.AsyncClient(timeout=4, trust_env=False) as client:  # never through a proxy
            answer = await client.get(url)
    except httpx.HTTPError as error:
        return wrong(f"The API at {url} does not answer: {error!r}.", "Read its log; gallery dev restarts it.")
    if answer.is_success:
        return well(f"gallery dev runs, and its API is ready on port {running.api_port}.")
    return not_ready_verdict(answer)


def not_ready_verdict(response: httpx.Response) -> Verdict:
    """The answer of /readyz as sentences; each server named there has its own check with the advice."""
    try:
        unavailable: dict[str, str] = response.json().get("away", {})
    except ValueError:
        return wrong(f"The API answers /readyz with {response.status_code}.", "Read its log.")
    if not unavailable:
        return notice("The API is shutting down: it takes no new requests.", "Wait, and run gallery doctor again.")
    names = [CHECK_BY_SERVICE[name] for name in unavailable]
    return wrong(
        f"The API is not ready. {' '.join(f'{name}: {reason}' for name, reason in unavailable.items())}",
        f"Follow the check {' and '.join(names)} below. If it finds nothing wrong, read the API's log.",
        away=unavailable,
    )


async def renderers(context: CheckContext) -> Verdict:
    """Runs the actions of a malicious picture in a renderer."""
    with tempfile.TemporaryDirectory(prefix="gallery-doctor-") as folder:
        scratch, worker = Path(folder), context.settings.worker
        with open_renderers(1, 10, worker.memory, scratch, denied=context.settings.data_path) as pool:
            found = await pool.run(examine)
    if found.missing:
        free = ", ".join(UNCONFINED_ACTIONS[name] for name in found.missing)
        return notice(
            f"A renderer may {free}.",
            "Run workers on Linux 6.7 or newer with Landlock, in a container whose seccomp profile lets it be used.",
            missing=found.missing,
        )
    return well("A renderer has no secrets, no privileges, no network, and only its own files.")


def _memory_bytes() -> tuple[int, int]:
    """The total and the free memory in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    total, free = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    try:
        limit, used = (CGROUP / "memory.max").read_text().strip(), int((CGROUP / "memory.current").read_text())
    except OSError:
        return total, free
    return (total, free) if limit == "max" else (int(limit), max(0, min(free, int(limit) - used)))


def _nearest_existing(path: Path) -> Path:
    """The path, or its nearest parent that exists."""
    return next(folder for folder in (path, *path.parents) if os.path.lexists(folder))


def _unencrypted_endpoint(settings: Settings) -> str:
    endpoint = settings.s3.endpoint or ""
    host = endpoint.partition("://")[2].partition(":")[0].partition("/")[0]
    return endpoint if endpoint.startswith("http://") and not is_loopback(host) else ""
