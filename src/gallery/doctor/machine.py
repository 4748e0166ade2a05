"""The machine and the settings."""

import asyncio
import os
import shutil
import tempfile
from pathlib import Path

import httpx

from gallery.access.open_mode import is_loopback, is_open
from gallery.doctor.model import CheckContext, Verdict, notice, skipped, well, wrong
from gallery.ops.capacity import capacity, file_limits
from gallery.processing.confinement import examine
from gallery.processing.renderers import open_renderers
from gallery.settings import Settings, find_unknown_variables

GIB = 1024**3
MIN_FREE_DISK_BYTES = 0.5 * GIB
MIN_FREE_MEMORY_RATIO = 0.05  # of all
MIN_OPEN_FILES = 1024
SHARED_MEMORY, MIN_SHARED_MEMORY_BYTES = Path("/dev/shm"), 32 * 1024**2  # noqa: S108  PostgreSQL's choice
CGROUP = Path("/sys/fs/cgroup")
CHECK_BY_SERVICE = {"postgresql": "postgresql", "valkey": "valkey", "objects": "store"}  # what /readyz names
UNCONFINED_ACTIONS = {
    "privileges": "use privileges, or gain some",
    "files": "read and write all files that its worker may",
    "programs": "run programs",
    "network": "open TCP connections",
}


async def data_directory(context: CheckContext) -> Verdict:
    """Where embedded servers and objects in files are; in another working directory the default is another one."""
    here = context.settings
    path = here.data_path.absolute()
    if context.running is not None:
        return well(f"{path}, in use by a running Gallery.", path=f"{path}")
    if here.database.url is not None:
        return well(f"{path}.", path=f"{path}")
    state = "no Gallery runs there" if path.exists() else "there is no such directory"
    return notice(
        f"{path}: {state}.", "Set GALLERY_DATA_DIR if Gallery runs in another data directory.", path=f"{path}"
    )


async def settings(context: CheckContext) -> Verdict:
    """Names that nobody knows, and values that let strangers in."""
    if strangers := find_unknown_variables(context.environment):
        meant = ", ".join(f"{name} (meant {near}?)" if near else name for name, near in strangers.items())
        return wrong(f"Nobody knows {meant}.", "Mend the name or unset it: it has no effect.", names=[*strangers])
    here = context.settings
    if here.fault:
        return wrong(f"GALLERY_FAULT is {here.fault}: processes kill themselves there.", "Unset it: it is for tests.")
    reachable = not is_loopback(here.host)
    if reachable and is_open(here):
        return wrong(
            f"Everybody who reaches {here.host} may read and delete everything.",
            "Set GALLERY_ACCESS__OPEN=false and make keys with gallery keys create.",
        )
    if reachable and here.rate.enabled is False:
        return notice("There are no limits on how often strangers may ask.", "Unset GALLERY_RATE__ENABLED.")
    if plain := _unencrypted(here):
        return notice(f"{plain} travels unencrypted.", "Use TLS unless the network is yours alone.")
    return well("All are known, and none is dangerous.")


async def memory(context: CheckContext) -> Verdict:
    """What is free here, of the machine or of the container, against what workers may take."""
    total, free = _memory_bytes()
    if free < total * MIN_FREE_MEMORY_RATIO:
        return wrong(
            f"Only {free / GIB:.1f} of {total / GIB:.1f} GiB of memory are free.",
            "Look at the queue's length, at gallery doctor --heap PID of the largest process, or give it more memory.",
            free=free,
            total=total,
        )
    worker = context.settings.worker
    needed = worker.concurrency * worker.memory
    if needed > total:
        return notice(
            f"{worker.concurrency} renderers may take {needed / GIB:.1f} GiB, and here are {total / GIB:.1f}.",
            "Lower GALLERY_WORKER__CONCURRENCY, or GALLERY_WORKER__MEMORY (then the largest pictures are refused).",
        )
    renderers = f"{worker.concurrency} renderers may take {needed / GIB:.1f}"
    return well(f"{free / GIB:.1f} of {total / GIB:.1f} GiB are free; {renderers}.", free=free, total=total)


async def disk(context: CheckContext) -> Verdict:
    """Room for files of ours: embedded data, objects, uploads and renderings under way."""
    places = {
        "the temporary directory": Path(tempfile.gettempdir()),
        "the data directory": _nearest_existing(context.settings.data_path),
    }
    free = {name: (path, (await asyncio.to_thread(shutil.disk_usage, path)).free) for name, path in places.items()}
    name, (path, least) = min(free.items(), key=lambda entry: entry[1][1])
    if least < MIN_FREE_DISK_BYTES:
        return wrong(
            f"Only {least / GIB:.2f} GiB are free in {name}, {path}.",
            "Remove what is not needed, or put it on a larger disk (GALLERY_DATA_DIR, TMPDIR).",
            free=least,
        )
    told = [f"{size / GIB:.1f} GiB are free in {name}, {path}" for name, (path, size) in free.items()]
    return well("; ".join(told) + ".", free=least)


async def shared_memory(context: CheckContext) -> Verdict:
    """The embedded PostgreSQL's; a container has 64 MiB of it unless told otherwise."""
    if context.settings.database.url is not None:
        return skipped("PostgreSQL is not embedded")
    free = (await asyncio.to_thread(shutil.disk_usage, SHARED_MEMORY)).free
    if free < MIN_SHARED_MEMORY_BYTES:
        return wrong(
            f"Only {free / 1024**2:.0f} MiB of shared memory are free.",
            "Give the container more: --shm-size, shm_size.",
            free=free,
        )
    return well(f"{free / 1024**2:,.0f} MiB of shared memory are free.", free=free)


async def limits(context: CheckContext) -> Verdict:
    """Open files: one for each client that listens. `gallery serve` raises its soft limit to the hard one."""
    soft, hard = file_limits()
    here = context.settings.notifications
    most = here.max_streams or capacity(soft).streams
    if soft < MIN_OPEN_FILES:
        return wrong(
            f"A process may have {soft} files open, and {most} streams.",
            "Raise the hard limit: ulimit -Hn, LimitNOFILE= of systemd, or the container's ulimits.",
            soft=soft,
            hard=hard,
        )
    if most > capacity(soft).connections:
        return wrong(
            f"{most:,} streams of a process leave nothing of its {soft:,} files for other requests.",
            "Lower GALLERY_NOTIFICATIONS__MAX_STREAMS, or raise the limit of open files.",
            soft=soft,
            hard=hard,
        )
    return well(f"A process may have {soft:,} files open, and {most:,} streams.", soft=soft, hard=hard, streams=most)


async def processes(context: CheckContext) -> Verdict:
    """Whether the API of a running `gallery dev` is ready."""
    running = context.running
    if running is None or running.api_port is None:
        return skipped(f"no gallery dev runs in {context.settings.data_path}")
    url = f"http://127.0.0.1:{running.api_port}/readyz"
    try:
        async with httpx.AsyncClient(timeout=4, trust_env=False) as client:  # no proxy leads to this machine
            answer = await client.get(url)
    except httpx.HTTPError as error:
        return wrong(f"The API at {url} does not answer: {error!r}.", "Look at its log; gallery dev starts it again.")
    if answer.is_success:
        return well(f"gallery dev runs, and its API is ready on port {running.api_port}.")
    return not_ready_verdict(answer)


def not_ready_verdict(response: httpx.Response) -> Verdict:
    """What /readyz says, in sentences; each need has a check of its own, that says what to do."""
    try:
        away: dict[str, str] = response.json().get("away", {})
    except ValueError:
        return wrong(f"The API answers /readyz with {response.status_code}.", "Look at its log.")
    if not away:
        return notice("The API ends: it takes no new requests.", "Wait, and look again.")
    names = [CHECK_BY_SERVICE[need] for need in away]
    return wrong(
        f"The API is not ready. {' '.join(f'{need}: {why}' for need, why in away.items())}",
        f"Do what the check {' and '.join(names)} says below. If it says that all is well, look at the API's log.",
        away=away,
    )


async def renderers(context: CheckContext) -> Verdict:
    """What a picture that takes a renderer over could do, tried in one."""
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
    return well("A renderer has no secrets, no privileges, no files but its own, and no network.")


def _memory_bytes() -> tuple[int, int]:
    """All, and what is free of it, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    total, free = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    try:
        limit, used = (CGROUP / "memory.max").read_text().strip(), int((CGROUP / "memory.current").read_text())
    except OSError:
        return total, free
    return (total, free) if limit == "max" else (int(limit), max(0, min(free, int(limit) - used)))


def _nearest_existing(path: Path) -> Path:
    """The path, or what is there of it."""
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def _unencrypted(settings: Settings) -> str:
    endpoint = settings.s3.endpoint or ""
    host = endpoint.partition("://")[2].partition(":")[0].partition("/")[0]
    return f"What goes to {endpoint}" if endpoint.startswith("http://") and not is_loopback(host) else ""
