"""Instruments: Prometheus reads each one, and the Datadog agent gets its values if there is an agent.

Several API processes behind one socket write their values into files of a directory that all of them read
(`prometheus_client`'s multiprocess mode), under the name of their slot and not of their process: the successor of a
dead process continues its counts. The mode must be known before the first instrument is made, so it is read here.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeAlias

import prometheus_client
from prometheus_client import multiprocess, values

METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SLOT_VARIABLE = "_GALLERY_SEAT"  # the slot whose files a child continues
EXTRA_METRICS_DIR_VARIABLE = "_GALLERY_METRICS_BESIDE"  # the folder of processes without an address of their own

MultiprocessMode: TypeAlias = Literal["livesum", "livemin"]  # combines the values of several processes

if METRICS_DIR_VARIABLE in os.environ and SLOT_VARIABLE in os.environ:
    slot = os.environ[SLOT_VARIABLE]  # read once: prometheus_client asks at each count
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


def multiprocess_environment(folder: Path, slot: str) -> dict[str, str]:
    """The environment of a child that writes into `folder`; `slot` is a unique name without underscores."""
    return {METRICS_DIR_VARIABLE: str(folder), SLOT_VARIABLE: slot}


def aggregating_environment(folder: Path) -> dict[str, str]:
    """The environment of a child that also reports the values that others write into `folder`."""
    return {EXTRA_METRICS_DIR_VARIABLE: str(folder)}


def mark_slot_dead(folder: Path, slot: str) -> None:
    """The slot's process has ended: it has no clients and connections any more. Its counts stay."""
    multiprocess.mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]


class Agent(Protocol):
    """A receiver of values, as the Datadog client is. No method may block."""

    def increment(self, metric: str, value: float, tags: list[str]) -> None: ...
    def gauge(self, metric: str, value: float, tags: list[str]) -> None: ...
    def histogram(self, metric: str, value: float, tags: list[str]) -> None: ...


class Instrument:
    """Prometheus' name is `gallery_<name>`; the agent's is `datadog_name`, else `gallery.<name>`."""

    agent: ClassVar[Agent | None] = None

    def __init__(self, name: str, labels: Sequence[str] = (), datadog_name: str = "") -> None:
        self._labels = tuple(labels)
        self._datadog_name = datadog_name or default_datadog_name(name)

    def _tags(self, values: Sequence[str]) -> list[str]:
        return [f"{name}:{value}" for name, value in zip(self._labels, values, strict=True)]


class Counter(Instrument):
    def __init__(self, name: str, help_text: str, *labels: str, datadog_name: str = "") -> None:
        super().__init__(name, labels, datadog_name)
        self._prometheus = prometheus_client.Counter(f"gallery_{name}", help_text, labels)
        self._children: dict[tuple[str, ...], prometheus_client.Counter] = {}  # a look-up costs as much as counting
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
    """A level of one process. The agent gets it at intervals (`report_to`), not at each step."""

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
    """The agent's name of the metric that Prometheus calls `gallery_<name>`."""
    return f"gallery.{name}"
