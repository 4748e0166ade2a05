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

METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SLOT_VARIABLE = "_GALLERY_SEAT"  # the variable by which a child learns whose files it goes on with
EXTRA_METRICS_DIR_VARIABLE = (
    "_GALLERY_METRICS_BESIDE"  # the variable with the folder of processes without an address, which we tell for
)

MultiprocessMode: TypeAlias = Literal["livesum", "livemin"]  # how the values of several processes are one

if METRICS_DIR_VARIABLE in os.environ and SLOT_VARIABLE in os.environ:
    values.ValueClass = values.MultiProcessValue(lambda: os.environ[SLOT_VARIABLE])  # type: ignore[no-untyped-call]
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def multiprocess_environment(folder: Path, slot: str) -> dict[str, str]:
    """The environment of a child that writes into `folder`; `seat` is a name without underscores, one for each."""
    return {METRICS_DIR_VARIABLE: str(folder), SLOT_VARIABLE: slot}


def aggregating_environment(folder: Path) -> dict[str, str]:
    """The environment of a child that adds to what it tells what others write into `folder`."""
    return {EXTRA_METRICS_DIR_VARIABLE: str(folder)}


def mark_slot_dead(folder: Path, slot: str) -> None:
    """The process of that seat has ended: it has no clients and no connections any more. Its counts stay."""
    multiprocess.mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]


class Agent(Protocol):
    """What is told. None of it may block."""

    def increment(self, metric: str, value: float, tags: list[str]) -> None: ...
    def gauge(self, metric: str, value: float, tags: list[str]) -> None: ...
    def histogram(self, metric: str, value: float, tags: list[str]) -> None: ...


class Instrument:
    """`name` is what Prometheus calls it, behind `gallery_`; the agent, the same behind `gallery.`, or `known_as`."""

    agent: ClassVar[Agent | None] = None

    def __init__(self, name: str, labels: Sequence[str] = (), datadog_name: str = "") -> None:
        self._labels = tuple(labels)
        self._datadog_name = datadog_name or default_datadog_name(name)

    def _tags(self, given: Sequence[str]) -> list[str]:
        return [f"{name}:{value}" for name, value in zip(self._labels, given, strict=True)]


class Counter(Instrument):
    def __init__(self, name: str, help_text: str, *labels: str, datadog_name: str = "") -> None:
        super().__init__(name, labels, datadog_name)
        self._prometheus = prometheus_client.Counter(f"gallery_{name}", help_text, labels)
        self._children: dict[tuple[str, ...], prometheus_client.Counter] = {}  # asking for it takes as long as counting
        if not labels:
            self._children[()] = self._prometheus

    def add(self, *labels: str, amount: float = 1) -> None:
        found = self._children.get(labels)
        if found is None:
            found = self._children[labels] = self._prometheus.labels(*labels)
        found.inc(amount)
        if self.agent is not None:
            self.agent.increment(self._datadog_name, amount, self._tags(labels))


class Histogram(Instrument):
    def __init__(
        self, name: str, help_text: str, *labels: str, buckets: Sequence[float], datadog_name: str = ""
    ) -> None:
        super().__init__(name, labels, datadog_name)
        self._prometheus = prometheus_client.Histogram(f"gallery_{name}", help_text, labels, buckets=buckets)
        self._children: dict[tuple[str, ...], prometheus_client.Histogram] = {}
        if not labels:
            self._children[()] = self._prometheus

    def observe(self, value: float, *labels: str) -> None:
        found = self._children.get(labels)
        if found is None:
            found = self._children[labels] = self._prometheus.labels(*labels)
        found.observe(value)
        if self.agent is not None:
            self.agent.histogram(self._datadog_name, value, self._tags(labels))


class Gauge(Instrument):
    """Of one process. The agent is told of it now and then (`report_to`): it wants to know of a level, not of each
    step.
    """

    all: ClassVar[list["Gauge"]] = []

    def __init__(self, name: str, help_text: str, mode: MultiprocessMode) -> None:
        super().__init__(name)
        self._prometheus = prometheus_client.Gauge(f"gallery_{name}", help_text, multiprocess_mode=mode)
        self._value = 0.0
        self.all.append(self)

    def add(self, n: float) -> None:
        self.set(self._value + n)

    def set(self, value: float) -> None:
        self._value = value
        self._prometheus.set(value)

    def report_to(self, agent: Agent) -> None:
        agent.gauge(self._datadog_name, self._value, [])


def default_datadog_name(name: str) -> str:
    """How the agent knows what Prometheus calls `gallery_<name>`."""
    return f"gallery.{name}"
