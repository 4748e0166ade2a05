"""In `gallery dev` one address has the metrics of the API and the worker."""

import asyncio
import os
import signal

import httpx

from factories import post, wait_until_settled
from gallery_processes import base_environment, dev
from scraping import Scrape, scrape


async def scrape_until(client: httpx.AsyncClient, condition) -> Scrape:
    async with asyncio.timeout(30):
        while not condition(found := await scrape(client)):
            await asyncio.sleep(0.2)
    return found


async def test_a_ready_image_is_counted_on_the_page_of_the_api(tmp_path):
    async with dev(base_environment(), tmp_path) as stack, httpx.AsyncClient(base_url=stack.url, timeout=20) as client:
        image = (await post(client)).json()
        assert (await wait_until_settled(client, image["id"]))["status"] == "READY"
        now = await scrape_until(client, lambda found: found.value("sweeps_total") > 0)
        assert now.value("image_ready_seconds_count") == 1
        assert now.value("attempts_total", outcome="ready") == 1
        assert now.value("images_uploaded_total") == 1
        assert now.value("events_read") > 0
        assert "process_resident_memory_bytes" in now.names
        maximum = now.value("database_connections_max")
        keys = [(sample.name, *sorted(sample.labels.items())) for sample in now.samples]
        assert len(keys) == len(set(keys))

        os.kill(stack.find_child("gallery", "worker").pid, signal.SIGKILL)
        gone = await scrape_until(client, lambda found: found.value("database_connections_max") < maximum)
        assert gone.value("image_ready_seconds_count") == 1, "the counts of a dead process stay"
        await scrape_until(client, lambda found: found.value("database_connections_max") == maximum)
