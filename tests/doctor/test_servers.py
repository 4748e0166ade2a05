"""Each check of a server, passing and failing, on real servers."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest
import redis.asyncio as redis
from bullmq import Queue as BullQueue

from doctor.findings import run_named_checks, verdict
from factories import upload_image
from faults.proxy import Proxy
from gallery.adapters.objects.store import ObjectStore, open_objects
from gallery.adapters.postgres.database import SCHEMA_REVISION
from gallery.backup.store import freeze, mark_complete, mark_verified
from gallery.doctor import postgres, store, valkey
from gallery.doctor.model import CheckContext
from gallery.jobs.queue import KEY_PREFIX, QUEUE_NAME
from gallery.jobs.worker import consume_jobs
from gallery.settings import Settings
from image_rows import insert_images
from s3 import create_bucket as bucket
from s3 import environment_of


@pytest.fixture
async def db(environment):
    connection = await asyncpg.connect(environment["DATABASE_URL"])
    yield connection
    await connection.close()


@asynccontextmanager
async def valkey_client(environment):
    async with redis.from_url(environment["REDIS_URL"]) as client:
        yield client


async def test_a_healthy_gallery_passes_all_checks(environment, gallery):
    found = await run_named_checks(environment)
    assert {f.check for f in found.values() if f.state in {"wrong", "unknown"}} == set()
    assert found["postgresql"].facts["version"] >= 16
    assert found["queue"].state == found["permissions"].state == found["ownership"].state == "well"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda url: url.replace(":", ":not-the-", 2).replace(":not-the-", ":", 1), "password"),
        (lambda url: url + "-not", "no such database"),
        (lambda url: f"postgresql://127.0.0.1:1/{url.rpartition('/')[2]}", "Start PostgreSQL"),
        (lambda _: "postgresql://nowhere.invalid/x", "nowhere.invalid is unknown"),
        (lambda _: "postgresql://127.0.0.1/x?sslmode=nonsense", "The connection to PostgreSQL failed"),
    ],
)
async def test_the_reason_of_a_failed_connection_to_postgresql(environment, change, says):
    found = await run_named_checks({**environment, "DATABASE_URL": change(environment["DATABASE_URL"])}, "stuck-images")
    assert (found["postgresql"].state, found["stuck-images"].state) == ("wrong", "skipped")
    assert says in found["postgresql"].says + found["postgresql"].do


@pytest.mark.parametrize(
    ("url", "says"), [("127.0.0.1:1", "correct REDIS_URL"), ("nowhere.invalid", "name is unknown")]
)
async def test_the_reason_of_a_failed_connection_to_valkey(environment, url, says):
    state, text = await verdict({**environment, "REDIS_URL": f"redis://{url}"}, "valkey")
    assert (state, says in text) == ("wrong", True), text


async def test_a_wrong_password_of_valkey(environment):
    async with valkey_client(environment) as client:
        await client.execute_command("ACL", "SETUSER", "gallery", "on", ">secret", "~*", "+@all")
        try:
            with_password = environment["REDIS_URL"].replace("redis://", "redis://gallery:{}@")
            right = await verdict({**environment, "REDIS_URL": with_password.format("secret")}, "valkey")
            state, text = await verdict({**environment, "REDIS_URL": with_password.format("guess")}, "valkey")
        finally:
            await client.execute_command("ACL", "DELUSER", "gallery")
    assert right[0] == "well"
    assert (state, "password" in text) == ("wrong", True), text


async def test_servers_that_hang_do_not_hang_the_doctor(environment):
    async with Proxy(environment["DATABASE_URL"]) as one, Proxy(environment["REDIS_URL"]) as other:
        one.stalling = other.stalling = True
        async with asyncio.timeout(15):
            found = await run_named_checks({**environment, "DATABASE_URL": one.url, "REDIS_URL": other.url})
    assert {found["postgresql"].state, found["valkey"].state} == {"wrong"}
    assert "does not answer" in found["postgresql"].says
    assert "does not answer" in found["valkey"].says
    assert found["store"].state == "well"


@pytest.mark.parametrize(
    ("revision", "says"),
    [
        ("001", f"older than this Gallery's {SCHEMA_REVISION}. Run gallery migrate."),
        ("999", f"newer than this Gallery's {SCHEMA_REVISION}. Upgrade Gallery."),
        ("0012", "of the numbering before the first release, which cannot be upgraded. Use a new database"),
        ("a1b2", "which no Gallery has. Check DATABASE_URL."),
    ],
)
async def test_another_schema(environment, db, revision, says):
    assert (await verdict(environment, "migrations"))[0] == "well"
    await db.execute("UPDATE alembic_version SET version_num = $1", revision)
    state, text = await verdict(environment, "migrations")
    assert (state, f"at {revision}, {says}" in text) == ("wrong", True), text


async def test_a_long_statement_and_the_process_that_blocks_it(environment, db, monkeypatch):
    monkeypatch.setattr(postgres, "LONG_RUNNING_SECONDS", 0.05)
    assert (await verdict(environment, "slow-queries"))[0] == "well"
    async with db.transaction():
        await db.execute("LOCK TABLE event")
        await asyncio.sleep(0.1)
        state, text = await verdict(environment, "slow-queries")
    assert (state, "idle in transaction" in text, "LOCK TABLE event" in text) == ("wrong", True, True)


async def test_statements_that_take_long_on_average(environment, db):
    """The extension cannot be loaded into a server that runs: a table with its columns stands for it."""
    columns = "1000::bigint AS calls, 250.0::float AS mean_exec_time, 1.0::float AS total_exec_time"
    await db.execute(
        f"CREATE TABLE pg_stat_statements AS SELECT 'SELECT slow' AS query, oid AS dbid, {columns} FROM pg_database "
        "WHERE datname = current_database()"
    )
    state, text = await verdict(environment, "slow-queries")
    assert (state, "1000 times, 250 ms on average: SELECT slow" in text) == ("wrong", True)
    await db.execute("UPDATE pg_stat_statements SET mean_exec_time = 1")
    assert (await verdict(environment, "slow-queries"))[0] == "well"


async def test_images_that_no_worker_takes(environment, gallery, db):
    await insert_images(gallery, "fresh", work_state="due")
    assert (await verdict(environment, "stuck-images"))[0] == "notice"  # no worker has swept yet
    await db.execute("UPDATE installation SET swept_at = now()")
    assert (await verdict(environment, "stuck-images"))[0] == "well"
    await db.execute("UPDATE image SET next_attempt_at = now() - interval '1 hour', deferrals = 7")
    state, text = await verdict(environment, "stuck-images")
    assert (state, "deferred 7 times" in text) == ("wrong", True), text
    await db.execute("UPDATE image SET work_state = 'claimed', lease_until = now() - interval '1 hour'")
    await db.execute("UPDATE installation SET swept_at = now() - interval '1 hour'")
    state, text = await verdict(environment, "stuck-images")
    assert (state, "1 lost their worker" in text, "Start gallery worker" in text) == ("wrong", True, True)


async def test_images_that_have_failed_are_counted_by_their_reason(environment, gallery):
    assert (await verdict(environment, "failed-images"))[0] == "well"
    await insert_images(gallery, "one", "two", status="FAILED", error_code="damaged_picture")
    state, text = await verdict(environment, "failed-images")
    assert (state, "2 damaged_picture" in text) == ("notice", True)


async def test_the_age_of_the_newest_verified_backup(environment, gallery):
    async def check() -> tuple[str, str]:
        return await verdict(environment, "backups")

    assert "There is no backup." in (await check())[1]
    async with freeze(gallery.database, "somewhere") as first:
        await mark_complete(gallery.database, first)
    assert ((state := await check())[0], "ever verified" in state[1]) == ("notice", True)
    now = datetime.now(UTC)
    await mark_verified(gallery.database, str(uuid4()), "somewhere", now - timedelta(days=3))
    assert ((state := await check())[0], "72 hours" in state[1]) == ("wrong", True)
    await mark_verified(gallery.database, str(uuid4()), "somewhere", now - timedelta(hours=5))
    assert ((state := await check())[0], "5 hours" in state[1]) == ("well", True)


async def test_few_connections_are_left(environment, monkeypatch):
    assert (await verdict(environment, "connections"))[0] == "well"
    monkeypatch.setattr(postgres, "MAX_CONNECTION_RATIO", 0.0)
    assert (await verdict(environment, "connections"))[0] == "wrong"


async def test_different_clocks(environment, s3, gallery, monkeypatch):
    with_s3 = {**environment, **s3, "S3_BUCKET": "clocks"}
    assert {(await verdict(with_s3, name))[0] for name in ("database-clock", "store-clock")} == {"well"}
    monkeypatch.setattr(postgres, "MAX_CLOCK_SKEW_SECONDS", -1)
    monkeypatch.setattr(store, "MAX_CLOCK_SKEW_SECONDS", -1)
    assert {(await verdict(with_s3, name))[0] for name in ("database-clock", "store-clock")} == {"wrong"}


async def test_a_valkey_that_evicts_keys(environment):
    assert (await verdict(environment, "eviction"))[0] == "well"
    async with valkey_client(environment) as client:
        try:
            await client.config_set("maxmemory-policy", "allkeys-lru")
            state, text = await verdict(environment, "eviction")
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("maxmemory", (await client.info("memory"))["used_memory"])
            full = await verdict(environment, "eviction")
        finally:
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("maxmemory", 0)
    assert (state, "allkeys-lru" in text) == ("wrong", True)
    assert (full[0], "Raise maxmemory" in full[1]) == ("wrong", True)


async def test_a_cache_without_hits(environment, monkeypatch):
    monkeypatch.setattr(valkey, "MIN_LOOKUPS", 50)
    async with valkey_client(environment) as client:
        await client.config_resetstat()
        assert "too few" in (await verdict(environment, "hit-rate"))[1]
        for number in range(100):
            await client.get(f"nothing:{number}")
        assert (await verdict(environment, "hit-rate"))[0] == "notice"
        await client.set("something", "1")
        for _ in range(200):
            await client.get("something")
        assert (await verdict(environment, "hit-rate"))[0] == "well"


async def test_a_cache_with_a_server_of_its_own(environment):
    assert "the same server" in (await verdict(environment, "cache"))[1]
    own = environment["REDIS_URL"].rpartition("/")[0] + "/0"
    assert "answers within" in (await verdict({**environment, "GALLERY_CACHE__URL": own}, "cache"))[1]
    found = await run_named_checks({**environment, "GALLERY_CACHE__URL": "redis://127.0.0.1:1"}, "hit-rate", "queue")
    assert {name: finding.state for name, finding in found.items()} == {
        "valkey": "well",
        "cache": "wrong",
        "hit-rate": "skipped",
        "queue": "well",
    }
    assert "GALLERY_CACHE__URL" in found["cache"].do


async def test_a_queue_that_does_not_move(environment, gallery):
    async def broken(subject: str) -> None:
        raise RuntimeError(f"broken handler of {subject}")

    assert (await verdict(environment, "queue"))[0] == "well"
    await upload_image(gallery)
    state, text = await verdict(environment, "queue")
    assert (state, "1 jobs wait, and no worker is connected" in text) == ("wrong", True)
    async with redis.from_url(environment["REDIS_URL"], decode_responses=True) as client:
        bull = BullQueue(QUEUE_NAME, {"connection": client, "prefix": KEY_PREFIX})
        await bull.pause()
        assert "The queue is paused" in (await verdict(environment, "queue"))[1]
        await bull.resume()
        async with consume_jobs(gallery.settings.redis, {"process": broken}, 1, "worker"), asyncio.timeout(20):
            while not await bull.getFailedCount():
                await asyncio.sleep(0.02)
            assert (await run_named_checks(environment, "queue"))["queue"].facts["workers"] == 1
    state, text = await verdict(environment, "queue")
    assert (state, "broken handler of" in text) == ("wrong", True), text


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({"S3_ACCESS_KEY": "nobody"}, "store", "access key is unknown"),
        ({"S3_SECRET_KEY": "guess"}, "store", "check S3_SECRET_KEY"),
        ({"S3_BUCKET": "not-there"}, "store", "does not exist: the bucket not-there"),
        ({"S3_ENDPOINT": "http://127.0.0.1:1"}, "store", "Nothing listens at the endpoint"),
        (environment_of("reader", {}, "read-only"), "permissions", "Gallery may not put objects"),
    ],
)
async def test_the_reason_of_a_failed_connection_to_the_store(environment, s3, change, check, says):
    bucket(s3, "read-only")
    state, text = await verdict({**environment, **s3, "S3_BUCKET": "read-only", **change}, check)
    assert (state, says in text) == ("wrong", True), text


async def test_the_owner_of_the_store(environment, gallery):
    installation = str(await gallery.objects.find_owner())
    assert (await verdict(environment, "ownership"))[0] == "well"
    for owner, says in (("another", "another installation"), (f"closed {installation}", "moved to another store")):
        (gallery.settings.data_path / "objects" / "installation").write_text(owner)
        state, text = await verdict(environment, "ownership")
        assert (state, says in text) == ("wrong", True)


async def test_a_store_that_overwrites(environment, exit_stack):
    class OverwritingStore(ObjectStore):
        async def put(self, key, content, served=None):
            await super().delete([key])
            await super().put(key, content, served)

    settings = Settings.read(environment)
    context = CheckContext(settings, {}, None, exit_stack)
    context.objects = open_objects(settings)
    assert (await store.permissions(context)).state == "well"
    context.objects = OverwritingStore(context.objects._store, 5)
    assert "If-None-Match" in (await store.permissions(context)).do


@pytest.fixture
async def exit_stack():
    from contextlib import AsyncExitStack  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        yield stack
