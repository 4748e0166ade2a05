"""The views of the queue for operators. Names are camelCase in JSON; ages and waits are in seconds."""

from datetime import datetime

from msgspec import Struct

from gallery.images.model import Lane
from gallery.images.timeline import TimelineEntry
from gallery.jobs.workers import WorkerState


class LaneView(Struct, frozen=True, rename="camel"):
    """Images of one lane. `due` wait for a worker, `later` for their next attempt; `oldestSeconds` is the longest wait.

    `queued` is the number of jobs of that lane in Valkey (null: unavailable). Duplicate and lost jobs make it differ.
    """

    __schema_name__ = "QueueLane"

    lane: Lane
    due: int
    later: int
    oldest_seconds: float | None
    queued: int | None


class RunningView(Struct, frozen=True, rename="camel"):
    """An image that a worker has claimed. `stage` and `percent` are its last reported progress, if any."""

    __schema_name__ = "RunningImage"

    id: str
    owner: str
    title: str
    lane: Lane
    attempt: int
    worker: str | None
    since: datetime | None
    lease_until: datetime
    overdue: bool
    stage: str | None = None
    percent: int | None = None


class WorkerView(Struct, frozen=True, rename="camel"):
    """A worker, with the ids of the images that it is processing."""

    __schema_name__ = "Worker"

    name: str
    version: str
    concurrency: int
    presence: WorkerState
    started_at: datetime
    seen_at: datetime
    doing: list[str]


class MinuteView(Struct, frozen=True, rename="camel"):
    """The number of images that became READY or FAILED within a minute."""

    __schema_name__ = "ThroughputMinute"

    minute: datetime
    ready: int
    failed: int


class FailureView(Struct, frozen=True, rename="camel"):
    """A FAILED image that was not dropped, with the end of its timeline."""

    __schema_name__ = "FailedImage"

    id: str
    owner: str
    title: str
    mime_type: str
    size: int
    lane: Lane
    code: str
    message: str
    failed_at: datetime
    attempt: int
    strikes: int
    losses: int
    worker: str | None
    timeline: list[TimelineEntry]


class ReasonView(Struct, frozen=True, rename="camel"):
    """The number of FAILED images with one error code."""

    __schema_name__ = "FailureReason"

    code: str
    count: int


class QueueView(Struct, frozen=True, rename="camel"):
    """The state of the queue. `jobs` counts BullMQ's jobs by state, `bugs` the failed ones.

    Both are null while Valkey is unavailable. `failed` counts the error codes of the newest 10,000 failures.
    """

    __schema_name__ = "Queue"

    at: datetime
    paused_since: datetime | None
    lanes: list[LaneView]
    jobs: dict[str, int] | None
    bugs: int | None
    running: list[RunningView]
    failed: list[ReasonView]
    workers: list[WorkerView]
    throughput: list[MinuteView]


class PauseView(Struct, frozen=True, rename="camel"):
    """The time since which the queue is paused; null when it is not."""

    __schema_name__ = "QueuePause"

    paused_since: datetime | None


class DoneView(Struct, frozen=True, rename="camel"):
    """The number of entries changed; with `more`, repeat the request for the others."""

    __schema_name__ = "BatchResult"

    count: int
    more: bool
