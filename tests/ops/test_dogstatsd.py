"""The Datadog agent's values, received by a real UDP socket."""

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import photos
from factories import post, upload_image
from gallery.ops import dogstatsd
from gallery.ops.instruments import Counter, Instrument
from gallery.ops.readings import Readings
from gallery.settings import DatadogSettings


@asynccontextmanager
async def run_agent():
    """An agent on its own port, and the lines that it has received."""
    lines: list[str] = []

    class Agent(asyncio.DatagramProtocol):
        def datagram_received(self, data, _addr):
            lines.extend(data.decode().splitlines())

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Agent, local_addr=("127.0.0.1", 0))
    try:
        yield DatadogSettings(agent_host="127.0.0.1", port=transport.get_extra_info("sockname")[1]), lines
    finally:
        transport.close()


async def wait_for_lines(lines, *prefixes):
    """Wait for lines that begin with these prefixes; return them in that order."""
    async with asyncio.timeout(10):
        while not all(any(line.startswith(begin) for line in lines) for begin in prefixes):
            await asyncio.sleep(0.02)
    return [next(line for line in lines if line.startswith(begin)) for begin in prefixes]


async def test_the_agent_gets_uploads_under_its_own_names(gallery, client, processing, monkeypatch):
    monkeypatch.setattr("gallery.ops.readings.MIN_CACHE_SECONDS", 0.0)
    monkeypatch.setattr("gallery.ops.readings.CACHE_COST_FACTOR", 0.0)
    content = photos.a_jpeg(comment=b"agent")
    async with run_agent() as (agent, lines), dogstatsd.reporting(agent, gallery.readings, interval=0.1):
        await post(client, content)
        image = await upload_image(gallery)
        await processing.process(image.id)
        found = await wait_for_lines(
            lines, "images.uploaded:", "upload.size:", "queue.length:", "gallery.attempts_total:"
        )
        await wait_for_lines(lines, "gallery.images:1|g|#status:READY", "gallery.sse_clients:0")
    assert found[0].startswith("images.uploaded:1|c")
    assert found[1].startswith(f"upload.size:{len(content)}|h")
    assert found[2].partition("|")[2].startswith("g")
    assert found[3].startswith("gallery.attempts_total:1|c|#outcome:ready")
    route = "#method:POST,route:/api/v1/images,status:2xx"
    assert any(line.startswith("gallery.http_request_duration_seconds:") and route in line for line in lines)
    assert Instrument.agent is None, "nothing is sent afterwards"


async def test_an_agent_that_cannot_be_resolved_delays_nothing():
    counter = Counter("tried_total", "Tried")
    nowhere = DatadogSettings(agent_host="agent.invalid")
    async with dogstatsd.reporting(nowhere, Readings({})):
        began = time.monotonic()
        for _ in range(2000):
            counter.add()
        assert time.monotonic() - began < 1, "counting must not wait for name resolution"


async def test_a_closed_port_delays_nothing():
    counter = Counter("refused_packets_total", "Refused")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with dogstatsd.reporting(DatadogSettings(agent_host="127.0.0.1", port=port), Readings({}), interval=0.01):
        for _ in range(50):
            counter.add()
            await asyncio.sleep(0.002)


def test_without_agent_and_collector_their_libraries_are_not_imported():
    code = (
        "import sys, gallery.cli.serve, gallery.cli.worker, gallery.wiring; "
        "libraries = ('datadog', 'opentelemetry.exporter', 'opentelemetry.sdk.trace', 'requests'); "
        "print([m for m in sys.modules if m.startswith(libraries)])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
