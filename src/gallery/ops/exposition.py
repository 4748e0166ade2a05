"""The answer to Prometheus: what all processes behind the socket have measured, and what is read now."""

import asyncio
import os
import re
from collections.abc import Iterable, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gallery.ops import cpu
from gallery.ops.instruments import SHARED
from gallery.ops.readings import Reading, Readings

VERSION = re.compile(r";\s*version=(?!(?:0\.0\.[14]|1\.0\.0)\s*(?:;|$))", re.ASCII)  # one that there is not


async def exposition(readings: Readings, accept: str) -> tuple[bytes, str]:
    """The text and its type, as `accept` asks for it: Prometheus' own format, or OpenMetrics."""
    taken = await readings.take()
    return await asyncio.to_thread(_write, taken, accept)


def _write(readings: Sequence[Reading], accept: str) -> tuple[bytes, str]:
    cpu.count()
    encode, media_type = choose_encoder(_understood(accept))
    registry = CollectorRegistry()
    registry.register(_Read(readings))
    if SHARED in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(_Own())
    return encode(registry), media_type


def _understood(accept: str) -> str:
    """Without the formats whose version there is not: the library compares and repeats whatever stands there."""
    return ",".join(item for item in accept.split(",") if VERSION.search(item) is None)


class _Own(Collector):
    """What this process has measured, and what the kernel and the interpreter say of it."""

    def collect(self) -> Iterable[Metric]:
        return REGISTRY.collect()


class _Read(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        for reading in self._readings:
            family = GaugeMetricFamily(f"gallery_{reading.name}", reading.says, labels=reading.labels)
            for labels, value in reading.values.items():
                family.add_metric(labels, value)
            yield family
