"""The probes of load balancers and operators."""

import asyncio
import os
from collections import Counter

import httpx
import msgspec
import psutil

from conftest import serve_api
from gallery import ops
from gallery.adapters.valkey.client import open_valkey
from gallery.errors import ObjectStoreUnavailable
from gallery.ops.health import Health, HealthFailure
from gallery.wiring import build_gallery


async def test_health_describes_this_process(client):
    health = (await client.get("/health")).json()
    assert health["status"] == "ok"
    assert health["timestamp"].endswith("Z")
    assert health["uptime"] > 0
    assert set(health["memory"]) == {"rss", "heapTotal", "heapUsed"}
    assert abs(health["memory"]["rss"] - psutil.Process(os.getpid()).memory_info().rss) < 100 * 1024 * 1024
    assert health["memory"]["heapUsed"] <= health["memory"]["rss"]


async def test_a_complete_application_is_live_and_ready(client):
    assert (await client.get("/livez")).status_code == 200
    assert (await client.get("/readyz")).json() == {"status": "ok"}


async def test_an_unavailable_server_is_named(gallery, settings):
    """Without Valkey: not ready, but alive; `exclude` makes it ready."""
    nowhere = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_valkey(nowhere) as valkey:
        crippled = build_gallery(settings, gallery.database, valkey, gallery.queue, gallery.objects)
        async with serve_api(crippled) as url, httpx.AsyncClient(base_url=url) as client:
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert answer.json() == {
                "status": "unavailable",
                "away": {"valkey": "Valkey is unavailable; try again later."},
                "states": {"valkey": "unavailable"},
            }
            assert answer.headers["retry-after"] == "2"
            assert (await client.get("/readyz", params={"exclude": "valkey"})).status_code == 200
            assert (await client.get("/livez")).status_code == 200


async def test_an_unavailable_store_is_named(gallery, settings):
    (settings.data_path / "objects").rename(settings.data_path / "elsewhere")
    async with serve_api(gallery) as url, httpx.AsyncClient(base_url=url) as client:
        assert list((await client.get("/readyz")).json()["away"]) == ["objects"]


async def test_each_server_is_checked_at_most_once_a_second(monkeypatch):
    pings: Counter[str] = Counter()

    def pinging(name: str, seconds: float = 0.0):
        async def ping() -> None:
            pings[name] += 1
            await asyncio.sleep(seconds)
            if name == "objects":
                raise ObjectStoreUnavailable

        return ping

    health = Health(
        {"postgresql": pinging("postgresql", 0.1), "valkey": pinging("valkey"), "objects": pinging("objects")}
    )
    results = await asyncio.gather(
        *(health.failures(e) for e in ((), ("valkey",), ("objects",), ("valkey", "valkey")) * 50)
    )
    assert pings == {"postgresql": 1, "valkey": 1, "objects": 1}
    assert [sorted(unavailable) for unavailable in results[:4]] == [["objects"], ["objects"], [], ["objects"]]
    assert await health.failures() == {"objects": HealthFailure(ObjectStoreUnavailable.sentence(), "unavailable")}
    assert pings.total() == 3
    monkeypatch.setattr(ops.health, "CACHE_SECONDS", 0.0)
    health = Health({"valkey": pinging("valkey")})
    await health.failures()
    await health.failures()
    assert pings["valkey"] == 3, "a result is reused for one second"


async def test_a_cancelled_probe_does_not_cancel_the_others(monkeypatch):
    never = asyncio.Event()

    async def hang() -> None:
        await never.wait()

    monkeypatch.setattr(ops.health, "PING_TIMEOUT_SECONDS", 0.2)
    health = Health({"postgresql": hang})
    first, second = (asyncio.create_task(health.failures()) for _ in range(2))
    await asyncio.sleep(0.05)
    first.cancel()
    assert list(await second) == ["postgresql"]


async def test_an_unknown_server_in_exclude_is_refused(client):
    assert (await client.get("/readyz", params={"exclude": "gravity"})).status_code == 422
