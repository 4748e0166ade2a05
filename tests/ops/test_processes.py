"""The joint metrics of several processes, and a worker's HTTP port: real processes, as an operator starts them."""

import asyncio
import os
import signal
import socket
import stat
from pathlib import Path

import httpx
import psutil
import pytest

import gallery_processes
from credentials import bearer_headers, run_command
from factories import post, wait_until_settled
from gallery.ops.cpu import COUNT_INTERVAL_SECONDS
from scraping import scrape

POOL_SIZE = 20  # connections per process


def metrics_folder(pid):
    """The folder of the metrics that its processes share."""
    child = next(c for c in psutil.Process(pid).children() if "serve" in gallery_processes.command_line(c))
    return Path(child.environ()["PROMETHEUS_MULTIPROC_DIR"])


async def request_with_new_connections(url, times, path="/livez"):
    """Send `times` requests, which the kernel spreads over the processes."""
    for _ in range(times):
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get(path)).status_code == 200


async def wait_for_max_connections(client, wanted):
    async with asyncio.timeout(20):
        while (found := await scrape(client)).value("database_connections_max") != wanted:
            await asyncio.sleep(0.02)
    return found


async def test_several_processes_behind_one_socket_measure_together(environment, tmp_path):
    async with (
        gallery_processes.api(environment, tmp_path, GALLERY_SERVE__WORKERS="2") as stack,
        httpx.AsyncClient(base_url=stack.url, timeout=20) as client,
    ):
        folder = metrics_folder(stack.pid)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        await wait_for_max_connections(client, 2 * POOL_SIZE)
        probes = {"route": "/livez", "status": "2xx"}
        await request_with_new_connections(stack.url, 40)
        before = await scrape(client)
        assert before.value("http_request_duration_seconds_count", **probes) == 40
        assert not before.has_sample("http_request_duration_seconds_count", pid="api-1")

        one = next(c for c in psutil.Process(stack.pid).children() if "serve" in gallery_processes.command_line(c))
        os.kill(one.pid, signal.SIGKILL)
        async with httpx.AsyncClient(base_url=stack.url, timeout=20) as another:
            await wait_for_max_connections(another, POOL_SIZE)
        await request_with_new_connections(stack.url, 5)
        async with httpx.AsyncClient(base_url=stack.url, timeout=20) as another:
            after = await wait_for_max_connections(another, 2 * POOL_SIZE)
        assert after.value("http_request_duration_seconds_count", **probes) == 45, "the counts of a dead process stay"
        assert len(list(folder.glob("counter_*"))) == 2, "its successor continues its file"
    assert not folder.exists()


async def test_the_cpu_time_is_the_sum_of_all_processes(environment, tmp_path):
    async with (
        gallery_processes.api(environment, tmp_path, GALLERY_SERVE__WORKERS="2") as stack,
        httpx.AsyncClient(base_url=stack.url, timeout=20) as client,
    ):
        children = [c for c in psutil.Process(stack.pid).children() if "serve" in gallery_processes.command_line(c)]
        await request_with_new_connections(stack.url, 40)
        await asyncio.sleep(COUNT_INTERVAL_SECONDS + 0.5)  # until each has counted
        found, used = (await scrape(client)).cpu, [child.cpu_times() for child in children]
        assert found["user"] == pytest.approx(sum(times.user for times in used), abs=0.5)
        assert found["system"] == pytest.approx(sum(times.system for times in used), abs=0.5)
        assert found[""] == pytest.approx(found["user"] + found["system"])
        os.kill(children[0].pid, signal.SIGKILL)
        async with httpx.AsyncClient(base_url=stack.url, timeout=20) as another:
            await wait_for_max_connections(another, 2 * POOL_SIZE)
            after = (await scrape(another)).cpu
        assert all(after[kind] >= found[kind] for kind in found), "the time of a dead process stays"


@pytest.fixture
def port():
    return str(gallery_processes.free_port())


async def test_a_worker_serves_metrics_and_health(environment, tmp_path, port):
    url = f"http://127.0.0.1:{port}"
    async with (
        gallery_processes.api(environment, tmp_path) as api,
        gallery_processes.worker({**environment, "GALLERY_WORKER__METRICS_PORT": port}, tmp_path),
        httpx.AsyncClient(base_url=api.url, timeout=20) as client,
        httpx.AsyncClient(base_url=url, timeout=20) as metrics,
    ):
        image = (await post(client)).json()["id"]
        assert (await wait_until_settled(client, image))["status"] == "READY"
        found = await scrape(metrics)
        assert found.value("attempts_total", outcome="ready") == 1
        assert found.value("attempt_step_seconds_sum", step="render") > 0
        assert "process_resident_memory_bytes" in found.names
        assert [(await metrics.get(path)).status_code for path in ("/livez", "/readyz", "/", "/api/v1/images")] == [
            200, 200, 404, 404,
        ]  # fmt: skip
        assert (await metrics.get("/livez", headers={"Host": "evil.example.org"})).status_code == 403, "like the API"


async def test_the_metrics_of_a_worker_require_a_key(environment, tmp_path, port):
    closed = {**environment, "GALLERY_ACCESS__OPEN": "false", "GALLERY_WORKER__METRICS_PORT": port}
    create_key = ("keys", "create", "--owner", "monitoring", "--scope", "admin")
    _, key, _ = await run_command(closed, *create_key)
    async with (
        gallery_processes.worker(closed, tmp_path),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers=bearer_headers(key.strip()))).status_code == 200


@pytest.mark.parametrize("more", [{}, {"GALLERY_HOST": "0.0.0.0"}])
async def test_a_worker_that_cannot_listen_does_not_start(environment, port, more):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        code, _, stderr = await run_command({**environment, "GALLERY_WORKER__METRICS_PORT": port, **more}, "worker")
    assert code == 2
    assert ("GALLERY_ACCESS__OPEN=false" if more else "Set GALLERY_WORKER__METRICS_PORT to a free port") in stderr
