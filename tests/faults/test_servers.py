"""Servers and their connections: unavailable, hanging, slow, full, read-only, emptied, cut off."""

import asyncio
import signal

import asyncpg
import redis.asyncio as redis

from faults.deployment import Deployment, check_survives
from faults.intensity import in_full_only
from faults.load import Load

# --- Valkey ---------------------------------------------------------------------------------------------------------


@in_full_only
async def test_valkey_is_flushed_with_many_pending(deployment):
    async def fault(deployment: Deployment) -> None:
        for worker in deployment.workers:
            await worker.stop(signal.SIGTERM)
        deployment.workers.clear()
        await _upload_many(deployment.load, deployment.intensity.pending_images)
        async with redis.from_url(deployment.direct_environment["REDIS_URL"]) as server:
            await server.flushall()
            for _ in range(2):
                await deployment.start_worker()
                await asyncio.sleep(0.5)
                await server.flushall()

    await check_survives(deployment, fault)


async def test_valkey_dies_and_comes_back_empty(deployment):
    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        async with redis.from_url(deployment.direct_environment["REDIS_URL"]) as server:
            await server.flushall()  # it restores its append-only file
        await deployment.backends.valkey.kill()
        await deployment.wait_until_unready("valkey")
        await asyncio.sleep(deployment.intensity.outage_seconds)
        await deployment.backends.valkey.start()

    await check_survives(deployment, fault)


@in_full_only
async def test_valkey_hangs(deployment):
    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        deployment.backends.valkey.suspend()
        await deployment.wait_until_unready("valkey")
        await asyncio.sleep(deployment.intensity.outage_seconds)
        deployment.backends.valkey.resume()

    await check_survives(deployment, fault)


@in_full_only
async def test_valkey_has_no_memory_left(deployment):
    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        async with redis.from_url(deployment.direct_environment["REDIS_URL"]) as server:
            await server.config_set("maxmemory", 1)
            await asyncio.sleep(deployment.intensity.outage_seconds)
            await server.config_set("maxmemory", 0)

    await check_survives(deployment, fault)


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


async def test_postgresql_is_killed_and_started_again(deployment):
    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        await deployment.backends.postgres.kill(signal.SIGQUIT)
        await deployment.wait_until_unready("postgresql")
        await asyncio.sleep(deployment.intensity.outage_seconds)
        await deployment.backends.postgres.start()

    await check_survives(deployment, fault)


@in_full_only
async def test_postgresql_is_paused(deployment):
    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        deployment.backends.postgres.suspend()
        await deployment.wait_until_unready("postgresql")
        await asyncio.sleep(deployment.intensity.outage_seconds)
        deployment.backends.postgres.resume()

    await check_survives(deployment, fault)


@in_full_only
async def test_postgresql_ends_its_connections(deployment):
    async def fault(deployment: Deployment) -> None:
        for _ in range(3):
            await asyncio.sleep(0.7)
            await _execute(
                deployment,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()",
            )
            deployment.database.reset_connections()

    await check_survives(deployment, fault)


@in_full_only
async def test_postgresql_is_read_only(deployment):
    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        await _execute(deployment, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await asyncio.sleep(deployment.intensity.outage_seconds)
        await _execute(
            deployment,
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        )

    await check_survives(deployment, fault)


# --- S3 -------------------------------------------------------------------------------------------------------------


@in_full_only
async def test_s3_is_unavailable_during_uploads(deployment):
    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        deployment.store.refusing = True
        deployment.store.reset_connections()
        await deployment.wait_until_unready("objects")
        await asyncio.sleep(deployment.intensity.outage_seconds)

    await check_survives(deployment, fault)


@in_full_only
async def test_s3_is_unavailable_during_rendering(deployment):
    """The API bypasses the proxy, so uploads succeed, and every fetch and put of a worker fails."""

    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(0.5)
        deployment.store.refusing = True
        deployment.store.reset_connections()
        await asyncio.sleep(deployment.intensity.outage_seconds)
        assert any(worker.log_lines("image.deferred") for worker in deployment.workers)

    await check_survives(deployment, fault, api={"S3_ENDPOINT": deployment.direct_environment["S3_ENDPOINT"]})


@in_full_only
async def test_s3_is_slow(deployment):
    async def fault(deployment: Deployment) -> None:
        deployment.store.delay_seconds = 0.1
        await asyncio.sleep(deployment.intensity.outage_seconds)

    await check_survives(deployment, fault)


@in_full_only
async def test_s3_resets_connections(deployment):
    async def fault(deployment: Deployment) -> None:
        for _ in range(round(deployment.intensity.outage_seconds / 0.1)):
            await asyncio.sleep(0.1)
            deployment.store.reset_connections()

    await check_survives(deployment, fault)


@in_full_only
async def test_s3_throttles(deployment):
    async def fault(deployment: Deployment) -> None:
        deployment.store.throttled_share = 0.7
        for _ in range(round(deployment.intensity.outage_seconds / 0.2)):
            deployment.store.reset_connections()  # open connections would not be throttled
            await asyncio.sleep(0.2)

    await check_survives(deployment, fault)


async def test_s3_applies_a_put_and_its_answer_is_lost(deployment):
    """Originals arrive cut off too: no answer may be longer than these bytes."""

    async def fault(deployment: Deployment) -> None:
        for size in (0, 2_000):
            deployment.store.cut_after_bytes = size
            await asyncio.sleep(deployment.intensity.outage_seconds / 2)

    await check_survives(deployment, fault)


async def _upload_many(load: Load, count: int) -> None:
    for _ in range(count // 10):
        await asyncio.gather(*(load.upload() for _ in range(10)))


async def _execute(deployment: Deployment, *statements: str) -> None:
    connection = await asyncpg.connect(deployment.direct_environment["DATABASE_URL"])
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
