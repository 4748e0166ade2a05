"""What the Datadog agent is told, heard by a real UDP socket."""

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
    """A port of its own, and the lines that have come to it."""
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
    """Waits for lines that begin so; returns them in that order."""
    async with asyncio.timeout(10):
        while not all(any(line.startswith(begin) for line in lines) for begin in prefixes):
            await asyncio.sleep(0.02)
    return [next(line for line in lines if line.startswith(begin)) for begin in prefixes]


async def test_the_agent_hears_of_uploads_by_the_names_that_it_knows(gallery, client, processing, monkeypatch):
    monkeypatch.setattr("gallery.ops.readings.MIN_CACHE_SECONDS", 0.0)
    monkeypatch.setattr("gallery.ops.readings.CACHE_COST_FACTOR", 0.0)
    content = photos.a_jpeg(comment=b"told")
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
    assert Instrument.agent is None, "and then no more"


async def test_an_agent_that_cannot_be_found_costs_nobody_anything():
    counter = Counter("tried_total", "Tried")
    nowhere = DatadogSettings(agent_host="agent.invalid")
    async with dogstatsd.reporting(nowhere, Readings({})):
        began = time.monotonic()
        for _ in range(2000):
            counter.add()
        assert time.monotonic() - began < 1, "whoever counts does not wait for a name to be found"


async def test_the_agent_of_a_closed_port_does_not_either():
    counter = Counter("unheard_total", "Refused")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with dogstatsd.reporting(DatadogSettings(agent_host="127.0.0.1", port=port), Readings({}), interval=0.01):
        for _ in range(50):
            counter.add()
            await asyncio.sleep(0.002)


def test_whoever_has_no_agent_and_no_collector_imports_nothing_of_theirs():
    code = (
        "import sys, gallery.cli.serve, gallery.cli.worker, gallery.wiring; "
        "theirs = ('datadog', 'opentelemetry.exporter', 'opentelemetry.sdk.trace', 'requests'); "
        "print([m for m in sys.modules if m.startswith(theirs)])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
