"""A stopping process still serves for a while and is not ready, until load balancers send no more requests."""

import asyncio
import signal

import httpx

from factories import listen, post, unique_photo
from gallery_processes import api, free_port, worker


async def test_a_draining_process_still_serves_and_is_not_ready(environment, tmp_path):
    async with (
        api(environment, tmp_path / "logs", GALLERY_SERVE__DRAIN="60") as server,
        httpx.AsyncClient(base_url=server.url, timeout=20) as client,
        httpx.AsyncClient(base_url=server.url, timeout=20) as newcomer,
        listen(client) as maya,
    ):
        kept = await client.get("/readyz")
        assert kept.status_code == 200
        assert "connection" not in kept.headers
        server.process.send_signal(signal.SIGTERM)
        await server.wait_for_event("api.draining")

        readiness = await client.get("/readyz")
        assert (readiness.status_code, readiness.json()) == (503, {"status": "draining"})
        assert (await client.get("/livez")).status_code == 200
        answer = await post(newcomer, unique_photo())
        assert (answer.status_code, answer.headers["connection"]) == (201, "close")
        assert (await maya.next()).event == "image.uploaded", "streams go on meanwhile"

        assert await server.stop(signal.SIGTERM, seconds=5) == 0, "a second signal ends the drain"


async def test_processes_behind_one_port_drain_together(environment, tmp_path):
    """A process that is still ready next to a draining one would keep the port in the balancer's list."""
    more = {"GALLERY_SERVE__DRAIN": "1", "GALLERY_SERVE__WORKERS": "2"}
    async with api(environment, tmp_path / "logs", **more) as server:
        async with asyncio.timeout(60):
            while len(server.log_lines("api.serving")) < 2:
                await asyncio.sleep(0.02)
        assert await server.stop(signal.SIGTERM, seconds=20) == 0
        events = [line["event"] for line in server.log_lines() if line["event"] in ("api.draining", "api.ended")]
        assert events == ["api.draining", "api.draining", "api.ended", "api.ended"]


async def test_a_worker_does_not_drain(environment, tmp_path):
    """Only probes use its port, so a drain that is set for all processes does not delay it."""
    more = {"GALLERY_SERVE__DRAIN": "60", "GALLERY_WORKER__METRICS_PORT": str(free_port())}
    async with worker({**environment, **more}, tmp_path / "logs") as hands:
        assert await hands.stop(signal.SIGTERM, seconds=20) == 0
