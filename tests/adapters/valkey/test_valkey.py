"""Valkey that becomes unavailable: bounded waits, and not one per request."""

import asyncio

import msgspec
import pytest

from gallery.adapters.valkey.client import BACKOFF_SECONDS, open_valkey
from gallery.errors import ValkeyUnavailable

TIMEOUT_SECONDS = 1.0


@pytest.fixture
async def hung(settings):
    """A server that accepts connections and never answers; with the list of its connections."""
    connections = []

    async def silent(reader, writer):
        connections.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    impatient = msgspec.structs.replace(settings.redis, url=f"redis://127.0.0.1:{port}/0", timeout=TIMEOUT_SECONDS)
    async with open_valkey(impatient) as valkey:
        yield valkey, connections
    server.close()
    for writer in connections:
        writer.close()


async def expect_unavailable(valkey):
    with pytest.raises(ValkeyUnavailable):
        await valkey.call(lambda server: server.get("x"))


async def test_a_hung_server_costs_one_time_out_and_then_nothing_for_a_while(hung):
    valkey, _ = hung
    loop = asyncio.get_running_loop()
    await expect_unavailable(valkey)
    began = loop.time()
    for _ in range(100):
        await expect_unavailable(valkey)
    assert loop.time() - began < TIMEOUT_SECONDS, "no call may wait for it"


async def test_after_the_pause_one_call_tries_again_and_no_other_waits(hung):
    valkey, _ = hung
    loop = asyncio.get_running_loop()
    await expect_unavailable(valkey)
    await asyncio.sleep(BACKOFF_SECONDS + 0.1)
    began = loop.time()
    one = asyncio.create_task(expect_unavailable(valkey))
    await asyncio.sleep(0)
    for _ in range(100):
        await expect_unavailable(valkey)
    assert loop.time() - began < TIMEOUT_SECONDS, "no other call may wait for it"
    await one


async def test_it_is_used_again_once_it_answers(gallery):
    gallery.valkey._unavailable_until = asyncio.get_running_loop().time() + 60
    await expect_unavailable(gallery.valkey)
    await gallery.valkey.ping()
    assert await gallery.valkey.call(lambda server: server.get("nothing")) is None
