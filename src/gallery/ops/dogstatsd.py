"""Metrics for the Datadog agent: each count and duration as it happens, and all gauges and readings every ten seconds.

A thread sends from a bounded queue that drops packets when it is full: an agent that is unavailable, or slow to
resolve, delays nothing. Without `DD_AGENT_HOST` the library is not even imported.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import structlog

from gallery.background import run_in_background
from gallery.ops.instruments import Agent, Gauge, Instrument, default_datadog_name
from gallery.ops.readings import Readings
from gallery.settings import DatadogSettings

log = structlog.get_logger(__name__)

REPORT_INTERVAL_SECONDS = 10.0
MAX_QUEUED_PACKETS = 10_000


@asynccontextmanager
async def reporting(
    settings: DatadogSettings, readings: Readings, interval: float = REPORT_INTERVAL_SECONDS
) -> AsyncIterator[None]:
    """Report to the agent while the block runs; does nothing without an agent."""
    if settings.agent_host is None:
        yield
        return
    from datadog.dogstatsd.base import DogStatsd  # noqa: PLC0415  only imported for an agent

    client = DogStatsd(
        host=settings.agent_host,
        port=settings.port,
        disable_buffering=False,
        disable_telemetry=True,
        disable_background_sender=False,
        sender_queue_size=MAX_QUEUED_PACKETS,
    )
    Instrument.agent = agent = cast("Agent", client)
    try:
        async with run_in_background(_report(agent, readings, interval), "dogstatsd"):
            yield
    finally:
        Instrument.agent = None
        await asyncio.to_thread(client.stop, timeout=1.0)


async def _report(agent: Agent, readings: Readings, interval: float) -> None:
    while True:
        for reading in await readings.collect():
            name = reading.datadog_name or default_datadog_name(reading.name)
            for labels, value in reading.values.items():
                agent.gauge(name, value, [f"{n}:{v}" for n, v in zip(reading.labels, labels, strict=True) if v])
        for gauge in Gauge.all:
            gauge.report_to(agent)
        await asyncio.sleep(interval)
