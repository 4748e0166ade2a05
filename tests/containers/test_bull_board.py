"""Bull Board with its real packages on a real Valkey: it shows the queue, and answers on loopback only."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deploy.manifests import DEPLOY
from gallery_processes import base_environment, free_port

pytestmark = pytest.mark.skipif(not shutil.which("npm"), reason="there is no Node.js here")


async def run_successfully(*line: str, folder: Path) -> None:
    """With the machine's own settings of npm."""
    process = await asyncio.create_subprocess_exec(*line, cwd=folder, env=dict(os.environ))
    assert await process.wait() == 0


@pytest.fixture
async def board(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[str]:
    folder = tmp_path / "bull-board"
    shutil.copytree(DEPLOY / "bull-board", folder, ignore=shutil.ignore_patterns("node_modules"))
    await run_successfully("npm", "ci", "--omit=dev", "--no-audit", "--no-fund", folder=folder)
    port = free_port()
    given = {**base_environment(), "REDIS_URL": environment["REDIS_URL"], "PORT": str(port)}
    process = await asyncio.create_subprocess_exec("node", "server.js", cwd=folder, env=given)
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(30):
            while not await is_listening(client, url):
                await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def test_it_shows_the_queue_to_its_own_page_only(board):
    async with httpx.AsyncClient(base_url=board) as client:
        assert "Gallery" in (await client.get("/")).text
        queues = (await client.get("/api/queues")).json()["queues"]
        assert [queue["name"] for queue in queues] == ["image-processing"]
        for path in ("/", "/api/queues", "/static/favicon-32x32.png"):
            assert (await client.get(path, headers={"Host": "rebound.example.org"})).status_code == 403
        pause = "/api/queues/image-processing/pause"
        elsewhere = await client.put(pause, headers={"Origin": "https://example.org"})
        assert elsewhere.status_code == 403
        assert (await client.put(pause, headers={"Origin": board})).status_code == 200


async def is_listening(client: httpx.AsyncClient, url: str) -> bool:
    try:
        await client.get(url)
    except httpx.TransportError:
        return False
    return True
