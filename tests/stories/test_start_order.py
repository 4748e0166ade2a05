"""Processes may start in any order: each logs that it waits for its servers, and ends on a signal meanwhile."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import httpx
import pytest

from faults.proxy import Proxy
from gallery_processes import free_port, run_gallery, wait_until_ready


async def test_a_process_waits_for_each_of_its_servers_and_logs_it(environment, s3, tmp_path):
    async with AsyncExitStack() as stack:
        urls = {name: {**environment, **s3}[name] for name in ("DATABASE_URL", "REDIS_URL", "S3_ENDPOINT")}
        proxies = {name: await stack.enter_async_context(Proxy(url)) for name, url in urls.items()}
        for proxy in proxies.values():
            proxy.refusing = True
        addresses = {name: proxy.url for name, proxy in proxies.items()}
        port = free_port()
        bucket = environment["GALLERY_REDIS__PREFIX"] + "-later"
        given = {**environment, **s3, **addresses, "S3_BUCKET": bucket, "PORT": str(port), "GALLERY_S3__TIMEOUT": "5"}
        process = await stack.enter_async_context(run_gallery(given, tmp_path / "logs", "serve"))
        await process.wait_for_event("database.waiting")
        proxies["DATABASE_URL"].restore()
        await process.wait_for_event("objects.waiting")
        proxies["S3_ENDPOINT"].restore()
        await process.wait_for_event("api.serving")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/readyz?exclude=valkey")).status_code == 200  # slower, and complete
        proxies["REDIS_URL"].restore()
        await wait_until_ready(f"http://127.0.0.1:{port}", process)


@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize(
    ("variable", "waiting"), [("DATABASE_URL", "database.waiting"), ("S3_ENDPOINT", "objects.waiting")]
)
async def test_a_process_that_waits_for_a_server_ends_at_once_on_sigterm(
    command, variable, waiting, environment, s3, tmp_path
):
    """The exit code 143 shows that it has handled the signal: a container's first process gets no other."""
    async with Proxy({**environment, **s3}[variable]) as proxy:
        proxy.refusing = True
        bucket = environment["GALLERY_REDIS__PREFIX"] + "-never"
        given = {**environment, **s3, variable: proxy.url, "S3_BUCKET": bucket, "PORT": str(free_port())}
        async with run_gallery(given, tmp_path / "logs", command) as process:
            await process.wait_for_event(waiting)
            assert await process.stop(seconds=10) == 143
        assert "Traceback" not in process.log_text()


async def test_a_wrong_endpoint_is_logged_once_with_its_setting_and_deadline(environment, s3, tmp_path):
    wrong = {**environment, **s3, "S3_BUCKET": "photos", "S3_ENDPOINT": "http://127.0.0.1:1", "PORT": str(free_port())}
    async with run_gallery(wrong, tmp_path / "logs", "serve") as process:
        line = await process.wait_for_event("objects.waiting")
        assert line["setting"] == "S3_ENDPOINT"
        assert "Nothing listens at the endpoint" in line["error"]
        left = (datetime.fromisoformat(line["until"]) - datetime.now(UTC)).total_seconds()
        assert 30 < left <= 60
        await asyncio.sleep(4)
        assert len(process.log_lines("objects.waiting")) == 1
