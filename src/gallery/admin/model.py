"""What operators read of the queue. On the wire it is camelCase; ages and waits are in seconds."""

from datetime import datetime

from msgspec import Struct

from gallery.images.model import Lane
from gallery.images.timeline import TimelineEntry
from gallery.jobs.workers import WorkerState


class LaneView(Struct, frozen=True, rename="camel"):
    """Images of one lane. `due` wait for a worker, `later` for their time; `oldestSeconds` is the longest wait.

    `queued` is how many jobs of that lane the queue holds (null: Valkey is away); doubles and losses make it differ.
    """

    lane: Lane
    due: int
    later: int
    oldest_seconds: float | None
    queued: int | None


class RunningView(Struct, frozen=True, rename="camel"):
    """An image that a worker has. `stage` and `percent` are what it last said of its progress, if it did."""

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
    """A worker, with what it has under way."""

    name: str
    version: str
    concurrency: int
    presence: WorkerState
    started_at: datetime
    seen_at: datetime
    doing: list[str]


class MinuteView(Struct, frozen=True, rename="camel"):
    """How many images became READY or FAILED within a minute."""

    minute: datetime
    ready: int
    failed: int


class FailureView(Struct, frozen=True, rename="camel"):
    """An image that is FAILED and waits for an operator, with the end of its timeline."""

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
    """How many images are FAILED for one reason."""

    code: str
    count: int


class QueueView(Struct, frozen=True, rename="camel"):
    """Everything at a glance. `jobs` counts BullMQ's jobs by its states, `bugs` those that failed.

    Both are null while Valkey is away. `failed` counts reasons of the newest 10,000 failures.
    """

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
    """Since when the queue is paused; null when it is not."""

    paused_since: datetime | None


class DoneView(Struct, frozen=True, rename="camel"):
    """How many it was done for; `more` says that there are others, for which to ask again."""

    count: int
    more: bool
