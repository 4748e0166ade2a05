"""The answer to Prometheus: the metrics of all processes behind the socket, and the readings computed now.

The worker of `gallery dev` has no address to be scraped at, so the API adds that worker's values to its own.
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
from gallery.ops.instruments import EXTRA_METRICS_DIR_VARIABLE, METRICS_DIR_VARIABLE
from gallery.ops.readings import Reading, Readings

UNKNOWN_VERSION = re.compile(r";\s*version=(?!(?:0\.0\.[14]|1\.0\.0)\s*(?:;|$))", re.ASCII)  # an unknown version


async def exposition(readings: Readings, accept: str) -> tuple[bytes, str]:
    """The text and its media type, as `accept` requests: Prometheus' own format, or OpenMetrics."""
    taken = await readings.collect()
    return await asyncio.to_thread(_write, taken, accept)


def _write(readings: Sequence[Reading], accept: str) -> tuple[bytes, str]:
    cpu.update()
    encode, media_type = choose_encoder(_known_formats(accept))
    registry = CollectorRegistry()
    registry.register(_ReadingsCollector(readings))
    registry.register(_SumCollector(list(_sources())))
    return encode(registry), media_type


def _sources() -> Iterator[Collector]:
    yield MultiProcessCollector(None) if METRICS_DIR_VARIABLE in os.environ else _ProcessCollector()  # type: ignore[no-untyped-call]
    if EXTRA_METRICS_DIR_VARIABLE in os.environ:
        yield MultiProcessCollector(None, os.environ[EXTRA_METRICS_DIR_VARIABLE])  # type: ignore[no-untyped-call]


def _known_formats(accept: str) -> str:
    """Removes the formats of unknown versions: the library would compare them and repeat them in its answer."""
    return ",".join(item for item in accept.split(",") if UNKNOWN_VERSION.search(item) is None)


class _ProcessCollector(Collector):
    """The metrics of this process, with those of the kernel and the interpreter about it."""

    def collect(self) -> Iterable[Metric]:
        return REGISTRY.collect()


class _SumCollector(Collector):
    """Adds up the values of sources that have the same metrics."""

    def __init__(self, sources: Sequence[Collector]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for metric in (metric for source in self._sources for metric in source.collect()):
            known = families.setdefault(metric.name, metric)
            if known is not metric:
                known.samples = _summed([*known.samples, *metric.samples])
        return families.values()


def _summed(samples: Iterable[Sample]) -> list[Sample]:
    sums: dict[tuple[object, ...], Sample] = {}
    for sample in samples:
        key = (sample.name, *sorted(sample.labels.items()))
        known = sums.get(key)
        sums[key] = sample if known is None else known._replace(value=known.value + sample.value)
    return list(sums.values())


class _ReadingsCollector(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterable[Metric]:
        for reading in self._readings:
            family = GaugeMetricFamily(f"gallery_{reading.name}", reading.help_text, labels=reading.labels)
            for labels, value in reading.values.items():
                family.add_metric(labels, value)
            yield family
