"""Servers and the cables to them: away, hung, slow, full, read-only, forgetful, cut off."""

import asyncio
import signal

import asyncpg
import redis.asyncio as redis

from faults.city import City, survives
from faults.load import Load

# --- Valkey ---------------------------------------------------------------------------------------------------------


async def test_valkey_is_flushed_with_many_pending(city):
    async def fault(city: City) -> None:
        for worker in city.workers:
            await worker.stop(signal.SIGTERM)
        city.workers.clear()
        await _many(city.load, city.form.pending)
        async with redis.from_url(city.direct["REDIS_URL"]) as server:
            await server.flushall()
            for _ in range(2):
                await city.start_worker()
                await asyncio.sleep(0.5)
                await server.flushall()

    await survives(city, fault)


async def test_valkey_is_away_and_comes_back_empty(city):
    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        async with redis.from_url(city.direct["REDIS_URL"]) as server:
            await server.flushall()  # its append-only file is what it comes back with
        await city.behind.valkey.kill()
        await city.unready("valkey")
        await asyncio.sleep(city.form.away)
        await city.behind.valkey.start()

    await survives(city, fault)


async def test_valkey_hangs(city):
    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        city.behind.valkey.freeze()
        await city.unready("valkey")
        await asyncio.sleep(city.form.away)
        city.behind.valkey.thaw()

    await survives(city, fault)


async def test_valkey_has_no_memory_left(city):
    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        async with redis.from_url(city.direct["REDIS_URL"]) as server:
            await server.config_set("maxmemory", 1)
            await asyncio.sleep(city.form.away)
            await server.config_set("maxmemory", 0)

    await survives(city, fault)


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


async def test_postgresql_is_killed_and_started_again(city):
    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        await city.behind.postgres.kill(signal.SIGQUIT)
        await city.unready("postgresql")
        await asyncio.sleep(city.form.away)
        await city.behind.postgres.start()

    await survives(city, fault)


async def test_postgresql_is_paused(city):
    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        city.behind.postgres.freeze()
        await city.unready("postgresql")
        await asyncio.sleep(city.form.away)
        city.behind.postgres.thaw()

    await survives(city, fault)


async def test_postgresql_ends_its_connections(city):
    async def fault(city: City) -> None:
        for _ in range(3):
            await asyncio.sleep(0.7)
            await _at_the_database(
                city,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()",
            )
            city.database.cut()

    await survives(city, fault)


async def test_postgresql_is_read_only(city):
    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        await _at_the_database(city, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await asyncio.sleep(city.form.away)
        await _at_the_database(
            city,
            "SET default_transaction_read_only = off",
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_reload_conf()",
        )

    await survives(city, fault)


# --- S3 -------------------------------------------------------------------------------------------------------------


async def test_s3_is_away_when_photos_come(city):
    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        city.store.refuses = True
        city.store.cut()
        await city.unready("objects")
        await asyncio.sleep(city.form.away)

    await survives(city, fault)


async def test_s3_is_away_when_they_are_rendered(city):
    """The API has a cable of its own: photos come all the while, and every fetch and every put of a worker fails."""

    async def fault(city: City) -> None:
        await asyncio.sleep(0.5)
        city.store.refuses = True
        city.store.cut()
        await asyncio.sleep(city.form.away)
        assert any(worker.lines("image.deferred") for worker in city.workers)

    await survives(city, fault, api={"S3_ENDPOINT": city.direct["S3_ENDPOINT"]})


async def test_s3_is_slow(city):
    async def fault(city: City) -> None:
        city.store.delay = 0.1
        await asyncio.sleep(city.form.away)

    await survives(city, fault)


async def test_s3_resets_connections(city):
    async def fault(city: City) -> None:
        for _ in range(round(city.form.away / 0.1)):
            await asyncio.sleep(0.1)
            city.store.cut()

    await survives(city, fault)


async def test_s3_throttles(city):
    async def fault(city: City) -> None:
        city.store.throttled = 0.7
        for _ in range(round(city.form.away / 0.2)):
            city.store.cut()  # who keeps its connection would not be told
            await asyncio.sleep(0.2)

    await survives(city, fault)


async def test_s3_applies_a_put_and_its_answer_is_lost(city):
    """And originals arrive cut off: no answer is longer than these bytes."""

    async def fault(city: City) -> None:
        for bytes_ in (0, 2_000):
            city.store.cut_after = bytes_
            await asyncio.sleep(city.form.away / 2)

    await survives(city, fault)


async def _many(load: Load, count: int) -> None:
    for _ in range(count // 10):
        await asyncio.gather(*(load.upload() for _ in range(10)))


async def _at_the_database(city: City, *statements: str) -> None:
    connection = await asyncpg.connect(city.direct["DATABASE_URL"])
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
