"""What load balancers and operators ask."""

import os

import httpx
import msgspec
import psutil

from conftest import served
from gallery.adapters.redis import open_valkey
from gallery.wiring import furnish


async def test_health_tells_of_this_process(client):
    health = (await client.get("/health")).json()
    assert health["status"] == "ok"
    assert health["timestamp"].endswith("Z")
    assert health["uptime"] > 0
    assert set(health["memory"]) == {"rss", "heapTotal", "heapUsed"}
    assert abs(health["memory"]["rss"] - psutil.Process(os.getpid()).memory_info().rss) < 100 * 1024 * 1024
    assert health["memory"]["heapUsed"] <= health["memory"]["rss"]


async def test_a_whole_house_is_live_and_ready(client):
    assert (await client.get("/livez")).status_code == 200
    assert (await client.get("/readyz")).json() == {"status": "ok"}


async def test_what_is_away_is_named(gallery, settings):
    """Valkey gone: not ready, but alive; who can do without Valkey asks for that."""
    nowhere = msgspec.structs.replace(settings.redis, url="redis://127.0.0.1:1/0")
    async with open_valkey(nowhere) as valkey:
        crippled = furnish(settings, gallery.database, valkey, gallery.queue, gallery.objects)
        async with served(crippled) as url, httpx.AsyncClient(base_url=url) as client:
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert answer.json() == {
                "status": "unavailable",
                "away": {"valkey": "Valkey is away; please try again."},
            }
            assert answer.headers["retry-after"] == "2"
            assert (await client.get("/readyz", params={"exclude": "valkey"})).status_code == 200
            assert (await client.get("/livez")).status_code == 200


async def test_a_store_that_is_away_is_named(gallery, settings):
    (settings.data / "objects").rename(settings.data / "elsewhere")
    async with served(gallery) as url, httpx.AsyncClient(base_url=url) as client:
        assert list((await client.get("/readyz")).json()["away"]) == ["objects"]


async def test_what_cannot_be_excluded_is_told(client):
    assert (await client.get("/readyz", params={"exclude": "gravity"})).status_code == 422
