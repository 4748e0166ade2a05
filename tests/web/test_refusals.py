"""A server that refuses Gallery differs from an unavailable one: for clients, probes, Prometheus, and in the log."""

import uuid
from contextlib import suppress

import httpx
import pytest
import redis.asyncio
from structlog.testing import capture_logs

from conftest import running_application, serve_api
from factories import CALLER, post, upload_image
from gallery.adapters.objects.store import open_objects
from gallery.adapters.postgres.database import open_database
from gallery.adapters.valkey.client import open_valkey
from gallery.embedded.servers import open_servers
from gallery.errors import DatabaseRefused, DatabaseUnavailable, ValkeyRefused
from gallery.images.timeline import Stage
from gallery.settings import DatabaseSettings, RedisSettings, Settings
from gallery.wiring import build_gallery, open_processing
from scraping import scrape

REVOKED = {"S3_ACCESS_KEY": "revoked"}


@pytest.fixture
def s3_environment(environment, s3) -> dict[str, str]:
    return {**environment, **s3, "S3_BUCKET": f"refused-{uuid.uuid4().hex[:8]}"}


async def test_keys_revoked_while_the_process_runs(s3_environment):
    async with running_application(s3_environment) as (gallery, _):
        image = await upload_image(gallery)
        revoked = Settings.read({**s3_environment, **REVOKED})
        crippled = build_gallery(revoked, gallery.database, gallery.valkey, gallery.queue, open_objects(revoked))
        async with serve_api(crippled) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
            before = await scrape(client)
            with capture_logs() as logs:
                answer = await post(client)
            assert (answer.status_code, answer.json()["code"]) == (503, "object_store_refused")
            assert "the operator has to correct the settings" in answer.json()["detail"]
            (line,) = [line for line in logs if line["event"] == "request.refused"]
            assert "The access key is unknown: check S3_ACCESS_KEY." in line["error"]
            ready = (await client.get("/readyz")).json()
            assert ready["states"] == {"objects": "refused"}
            now = await scrape(client)
            assert now.value("refused_total", server="objects") > before.value("refused_total", server="objects")
            assert now.value("away_total", server="objects") == before.value("away_total", server="objects")
        async with open_processing(crippled, name="worker") as processing:
            await processing.process(image.id)
        last = (await gallery.images.timeline(CALLER, image.id))[-1]
        assert (last.stage, last.code) == (Stage.DEFERRED, "object_store_refused")


async def test_a_password_changed_while_the_process_runs(gallery, settings):
    role = f"r{uuid.uuid4().hex[:8]}"
    address = str(settings.database.url).partition("@")[2]
    async with gallery.database.primary() as db:
        await db.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'before'")
    async with open_database(DatabaseSettings(url=f"postgresql://{role}:before@{address}")) as database:
        await database.ping()
        async with gallery.database.primary() as db:
            await db.execute(f"ALTER ROLE {role} PASSWORD 'after'")
            await db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role)
        with suppress(DatabaseUnavailable):  # which the connection that has just ended may be
            await database.ping()
        with pytest.raises(DatabaseRefused, match="password authentication failed"):
            await database.ping()
    async with gallery.database.primary() as db:
        await db.execute(f"DROP ROLE {role}")


async def test_a_valkey_that_wants_a_password(tmp_path):
    async with open_servers(tmp_path, postgres=False) as running:
        async with redis.asyncio.from_url(running.redis_url) as admin:
            await admin.config_set("requirepass", "another")
        async with open_valkey(RedisSettings(url=running.redis_url)) as valkey:
            with pytest.raises(ValkeyRefused):
                await valkey.ping()
