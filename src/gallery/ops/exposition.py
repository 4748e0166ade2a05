"""The answer to Prometheus: what all processes behind the socket have measured, and what is read now.

The worker of `gallery dev` has no address to be scraped at, so the API tells its values too, added to its own.
"""

import asyncio
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from gallery.ops import cpu
from gallery.ops.instruments import BESIDE, SHARED
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
    registry.register(_Sum(list(_sources())))
    return encode(registry), media_type


def _sources() -> Iterator[Collector]:
    yield MultiProcessCollector(None) if SHARED in os.environ else _Own()  # type: ignore[no-untyped-call]
    if BESIDE in os.environ:
        yield MultiProcessCollector(None, os.environ[BESIDE])  # type: ignore[no-untyped-call]


def _understood(accept: str) -> str:
    """Without the formats whose version there is not: the library compares and repeats whatever stands there."""
    return ",".join(item for item in accept.split(",") if VERSION.search(item) is None)


class _Own(Collector):
    """What this process has measured, and what the kernel and the interpreter say of it."""

    def collect(self) -> Iterable[Metric]:
        return REGISTRY.collect()


class _Sum(Collector):
    """Sources that know the same metrics: their values are added up."""

    def __init__(self, sources: Sequence[Collector]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for metric in (metric for source in self._sources for metric in source.collect()):
            known = families.setdefault(metric.name, metric)
            if known is not metric:
                known.samples = _added([*known.samples, *metric.samples])
        return families.values()


def _added(samples: Iterable[Sample]) -> list[Sample]:
    sums: dict[tuple[object, ...], Sample] = {}
    for sample in samples:
        key = (sample.name, *sorted(sample.labels.items()))
        known = sums.get(key)
        sums[key] = sample if known is None else known._replace(value=known.value + sample.value)
    return list(sums.values())


class _Read(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        for reading in self._readings:
            family = GaugeMetricFamily(f"gallery_{reading.name}", reading.says, labels=reading.labels)
            for labels, value in reading.values.items():
                family.add_metric(labels, value)
            yield family
