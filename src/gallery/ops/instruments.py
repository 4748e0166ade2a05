"""What measures: each instrument is read by Prometheus, and tells the Datadog agent where there is one.

With several API processes behind one socket each writes its values into files of a directory that all of them read
(`prometheus_client`'s multiprocess mode), under the name of its seat and not of its process: who follows a dead one
goes on with its counts. Which way it is has to be known before the first instrument is made, so it is asked here.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeAlias

import prometheus_client
from prometheus_client import multiprocess, values

SHARED = "PROMETHEUS_MULTIPROC_DIR"
SEAT = "_GALLERY_SEAT"  # the variable by which a child learns whose files it goes on with
BESIDE = "_GALLERY_METRICS_BESIDE"  # the variable with the folder of processes without an address, which we tell for

Together: TypeAlias = Literal["livesum", "livemin"]  # how the values of several processes are one

if SHARED in os.environ and SEAT in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: os.environ[SEAT])  # type: ignore[no-untyped-call]
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def shared_by(folder: Path, seat: str) -> dict[str, str]:
    """The environment of a child that writes into `folder`; `seat` is a name without underscores, one for each."""
    return {SHARED: str(folder), SEAT: seat}


def telling_for(folder: Path) -> dict[str, str]:
    """The environment of a child that adds to what it tells what others write into `folder`."""
    return {BESIDE: str(folder)}


def left(folder: Path, seat: str) -> None:
    """The process of that seat has ended: it has no clients and no connections any more. Its counts stay."""
    multiprocess.mark_process_dead(seat, str(folder))  # type: ignore[no-untyped-call]


class Agent(Protocol):
    """What is told. None of it may block."""

    def increment(self, metric: str, value: float, tags: list[str]) -> None: ...
    def gauge(self, metric: str, value: float, tags: list[str]) -> None: ...
    def histogram(self, metric: str, value: float, tags: list[str]) -> None: ...


class Instrument:
    """`name` is what Prometheus calls it, behind `gallery_`; the agent, the same behind `gallery.`, or `known_as`."""

    agent: ClassVar[Agent | None] = None

    def __init__(self, name: str, labels: Sequence[str] = (), known_as: str = "") -> None:
        self._labels = tuple(labels)
        self._dotted = known_as or dotted(name)

    def _tags(self, given: Sequence[str]) -> list[str]:
        return [f"{name}:{value}" for name, value in zip(self._labels, given, strict=True)]


class Counter(Instrument):
    def __init__(self, name: str, says: str, *labels: str, known_as: str = "") -> None:
        super().__init__(name, labels, known_as)
        self._prometheus = prometheus_client.Counter(f"gallery_{name}", says, labels)
        self._of: dict[tuple[str, ...], prometheus_client.Counter] = {}  # asking for it takes as long as counting
        if not labels:
            self._of[()] = self._prometheus

    def add(self, *labels: str, n: float = 1) -> None:
        found = self._of.get(labels)
        if found is None:
            found = self._of[labels] = self._prometheus.labels(*labels)
        found.inc(n)
        if self.agent is not None:
            self.agent.increment(self._dotted, n, self._tags(labels))


class Histogram(Instrument):
    def __init__(self, name: str, says: str, *labels: str, buckets: Sequence[float], known_as: str = "") -> None:
        super().__init__(name, labels, known_as)
        self._prometheus = prometheus_client.Histogram(f"gallery_{name}", says, labels, buckets=buckets)
        self._of: dict[tuple[str, ...], prometheus_client.Histogram] = {}
        if not labels:
            self._of[()] = self._prometheus

    def observe(self, value: float, *labels: str) -> None:
        found = self._of.get(labels)
        if found is None:
            found = self._of[labels] = self._prometheus.labels(*labels)
        found.observe(value)
        if self.agent is not None:
            self.agent.histogram(self._dotted, value, self._tags(labels))


class Gauge(Instrument):
    """Of one process. The agent is told of it now and then (`tell`): it wants to know of a level, not of each step."""

    all: ClassVar[list["Gauge"]] = []

    def __init__(self, name: str, says: str, together: Together) -> None:
        super().__init__(name)
        self._prometheus = prometheus_client.Gauge(f"gallery_{name}", says, multiprocess_mode=together)
        self._value = 0.0
        self.all.append(self)

    def add(self, n: float) -> None:
        self.set(self._value + n)

    def set(self, value: float) -> None:
        self._value = value
        self._prometheus.set(value)

    def tell(self, agent: Agent) -> None:
        agent.gauge(self._dotted, self._value, [])


def dotted(name: str) -> str:
    """How the agent knows what Prometheus calls `gallery_<name>`."""
    return f"gallery.{name}"
