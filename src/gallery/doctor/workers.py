"""Checks the workers by their heartbeats in PostgreSQL: Valkey would count the connections of a frozen one too."""

import socket
from datetime import datetime, timedelta

from gallery.doctor.model import CheckContext, Verdict, notice, well, wrong
from gallery.doctor.postgres import get_connection
from gallery.embedded import processes
from gallery.jobs import workers as registry
from gallery.jobs.workers import Worker, WorkerState

REPLACED_AFTER = timedelta(minutes=10)  # by then a worker lost on another machine has been replaced, if others live
DUE = """
    SELECT now() AS now,
           (SELECT count(*) FROM image
            WHERE work_state = 'due' AND deleted_at IS NULL AND next_attempt_at <= now()) AS due
"""


async def workers(context: CheckContext) -> Verdict:
    """Finds frozen and dead workers, and due images without a live worker."""
    db = get_connection(context)
    (row,) = await db.fetch(DUE)
    due, now = row["due"], row["now"]
    found = await registry.workers(db)
    alive = [each for each in found if each.presence is WorkerState.ALIVE]
    lost = [each for each in found if each.presence is WorkerState.LOST]
    lost.sort(key=lambda each: each.seen_at, reverse=True)
    facts = {"alive": len(alive), "lost": [each.name for each in lost], "due": due}
    if frozen := [each for each in lost if _find_local_pid(each)]:
        return _frozen(frozen[0], due, now, facts)
    if not alive:
        return _none_alive(lost, due, now, facts)
    if lost and now - lost[0].seen_at < REPLACED_AFTER and not _is_local(lost[0]):
        do = "Check whether its process hangs, and end it; other workers continue with its images."
        return wrong(f"{_last_heartbeat(lost[0], now)}, and it did not shut down.", do, **facts)
    if lost:
        says = (
            f"{len(alive)} workers are alive, and {len(lost)} died within the last hour. "
            f"{_last_heartbeat(lost[0], now)}."
        )
        return notice(says, "Read the end of its log, and the kernel's log for out-of-memory kills.", **facts)
    return well(f"{len(alive)} workers are alive, and {due} images are due.", **facts)


def _frozen(worker: Worker, due: int, now: datetime, facts: dict[str, object]) -> Verdict:
    pid = _find_local_pid(worker)
    return wrong(
        f"{_last_heartbeat(worker, now)}, but its process exists: it is frozen. {due} images are due.",
        f"End it with kill -9 {pid}: gallery dev, systemd or Kubernetes starts another. (kill -CONT {pid} wakes a "
        "process that was stopped.)",
        **facts,
    )


def _none_alive(lost: list[Worker], due: int, now: datetime, facts: dict[str, object]) -> Verdict:
    if lost:
        says = f"No worker is alive, and {due} images are due. {_last_heartbeat(lost[0], now)}."
        return wrong(says, "Start gallery worker; the end of the lost worker's log says why it died.", **facts)
    if due:
        return wrong(f"{due} images are due, and no worker is alive.", "Start gallery worker.", **facts)
    return notice("No worker is alive.", "Start gallery worker: without one, no image becomes READY.", **facts)


def _last_heartbeat(worker: Worker, now: datetime) -> str:
    seconds = (now - worker.seen_at).total_seconds()
    ago = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    return f"The worker {worker.name} sent its last heartbeat {ago} ago"


def _is_local(worker: Worker) -> bool:
    return worker.name.rpartition(":")[0] == socket.gethostname()


def _find_local_pid(worker: Worker) -> int | None:
    """The pid of the worker, if it is a live process on this machine."""
    pid = worker.name.rpartition(":")[2]
    if not _is_local(worker) or not pid.isdecimal():
        return None
    return int(pid) if " worker" in processes.command_line(int(pid)) else None
