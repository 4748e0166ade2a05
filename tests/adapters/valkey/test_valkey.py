"""Valkey that goes away: bounded waits, and not one for each request."""

import asyncio

import msgspec
import pytest

from gallery.adapters.valkey.client import BACKOFF_SECONDS, open_valkey
from gallery.errors import ValkeyUnavailable

TIMEOUT_SECONDS = 1.0  # seconds


@pytest.fixture
async def hung(settings):
    """A server that takes connections and never answers; counts who came."""
    came = []

    async def silent(reader, writer):
        came.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    impatient = msgspec.structs.replace(settings.redis, url=f"redis://127.0.0.1:{port}/0", timeout=TIMEOUT_SECONDS)
    async with open_valkey(impatient) as valkey:
        yield valkey, came
    server.close()
    for writer in came:
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
    assert loop.time() - began < TIMEOUT_SECONDS, "nobody has waited for it"


async def test_when_it_is_time_to_ask_again_one_asks_and_nobody_else_waits(hung):
    valkey, _ = hung
    loop = asyncio.get_running_loop()
    await expect_unavailable(valkey)
    await asyncio.sleep(BACKOFF_SECONDS + 0.1)
    began = loop.time()
    one = asyncio.create_task(expect_unavailable(valkey))
    await asyncio.sleep(0)
    for _ in range(100):
        await expect_unavailable(valkey)
    assert loop.time() - began < TIMEOUT_SECONDS, "nobody has waited for it"
    await one


async def test_it_is_used_again_once_it_answers(gallery):
    gallery.valkey._unavailable_until = asyncio.get_running_loop().time() + 60
    await expect_unavailable(gallery.valkey)
    await gallery.valkey.ping()
    assert await gallery.valkey.call(lambda server: server.get("nothing")) is None
