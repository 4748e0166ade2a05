"""The image asks itself whether it lives, without curl."""

import asyncio
import sys

from deploy.manifests import DEPLOY
from gallery_processes import base_environment, free_port


async def run_healthcheck(**environment: str) -> int | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, DEPLOY / "healthcheck.py", env={**base_environment(), **environment}
    )
    async with asyncio.timeout(20):
        return await process.wait()


async def test_an_api_that_answers_is_healthy(client):
    assert await run_healthcheck(PORT=str(client.base_url.port)) == 0


async def test_an_api_that_does_not_answer_is_unhealthy():
    assert await run_healthcheck(PORT=str(free_port())) == 1


async def test_a_worker_is_checked_on_its_own_port(client):
    assert await run_healthcheck(WORKER_MODE="true") == 0
    assert await run_healthcheck(WORKER_MODE="true", GALLERY_WORKER__METRICS_PORT=str(client.base_url.port)) == 0
    assert await run_healthcheck(WORKER_MODE="true", GALLERY_WORKER__METRICS_PORT=str(free_port())) == 1
