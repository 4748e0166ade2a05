"""Processes of ours die, freeze, and have wrong clocks."""

import asyncio
import random
import signal
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import psutil

import photos
from faults.city import City, send, survives
from faults.load import TLS
from processes import Running

TWICE = ":2"
DONE = "nobody any more"
AT_WORK = f"""
    SELECT CASE WHEN work IS NULL THEN '{DONE}' ELSE coalesce((
        SELECT worker FROM timeline WHERE image_id = $1 AND stage = 'processing' ORDER BY id DESC LIMIT 1
    ), 'nobody yet') END FROM image WHERE id = $1
"""


async def test_the_api_is_killed(city):
    async def fault(city: City) -> None:
        for _ in range(city.form.kills):
            await asyncio.sleep(0.7)
            await city.stop_api()
            await city.start_api()

    await survives(city, fault)


async def test_the_api_dies_between_two_steps_of_an_upload_or_a_delete(city):
    async def fault(city: City) -> None:
        for place in ("upload-put", "upload-committed", "upload-answer", "delete-committed"):
            await city.stop_api(signal.SIGTERM)
            await city.start_api(GALLERY_FAULT=place + TWICE)
            work = [asyncio.create_task(city.load.upload()) for _ in range(2)]
            work += [asyncio.create_task(_delete(city, 2))] if place.startswith("delete") else []
            await city.api_dies()
            await city.start_api()
            await asyncio.gather(*work)

    await survives(city, fault)


async def test_workers_are_killed_while_they_decode(city):
    """Pictures large enough that a worker is in the middle of one whenever it is killed."""

    async def fault(city: City) -> None:
        for _ in range(city.form.decodes):
            victim = await _a_decoding_worker(city)
            await city.start_worker()
            city.workers.remove(victim)
            await victim.stop(signal.SIGKILL)

    await survives(city, fault)


async def test_workers_die_between_two_steps_of_their_work(city):
    async def fault(city: City) -> None:
        for place in ("work-claimed", "work-put", "work-settled", "sweep-marked", "sweep-removed"):
            doomed = await city.start_worker(GALLERY_FAULT=place)
            for other in city.workers[:-1]:
                city.workers.remove(other)
                await other.stop(signal.SIGTERM)
            work = [asyncio.create_task(city.load.upload()) for _ in range(2)]
            work += [asyncio.create_task(_delete(city, 2))] if place.startswith("sweep") else []
            await city.worker_dies(doomed)
            await city.start_worker()
            await asyncio.gather(*work)

    await survives(city, fault)


async def test_a_worker_freezes_for_longer_than_its_lease(city):
    """Then it thaws, and must change nothing that is another's."""

    async def fault(city: City) -> None:
        await asyncio.sleep(1)
        send(city.workers[0], signal.SIGSTOP)
        await asyncio.sleep(city.form.frozen)
        send(city.workers[0], signal.SIGCONT)

    await survives(city, fault)


async def test_the_clocks_of_all_workers_are_an_hour_wrong(city, tmp_path):
    """Leases and pauses go by the database's clock. Objects are files: S3 itself refuses who is so far off."""
    clock = tmp_path / "clock.so"
    source = Path(__file__).parent / "clock.c"
    assert await (await asyncio.create_subprocess_exec("cc", "-shared", "-fPIC", "-o", clock, source)).wait() == 0
    city.keep_objects_in(tmp_path / "data")

    async def fault(city: City) -> None:
        await asyncio.sleep(city.form.away)
        hours = {worker.lines("image.ready")[-1]["timestamp"][11:13] for worker in city.workers}
        assert len(hours) == 2, "each goes by its own"

    wrong = [{"LD_PRELOAD": str(clock), "CLOCK_OFFSET": offset} for offset in ("3600", "-3600")]
    await survives(city, fault, workers=wrong)


async def test_everything_dies_and_comes_back_in_any_order(city):
    async def fault(city: City) -> None:
        for _ in range(city.form.upheavals):
            await asyncio.sleep(1)
            await _upheaval(city)

    await survives(city, fault)


async def _upheaval(city: City) -> None:
    async def kill_a_worker() -> None:
        await city.workers.pop().stop(signal.SIGKILL)

    kills = [engine.kill for engine in city.behind.all] + [kill_a_worker] * 2 + [city.stop_api]
    for kill in random.sample(kills, len(kills)):
        await kill()
    starts = [engine.start for engine in city.behind.all] + [city.start_worker] * 2 + [city.start_api]
    await asyncio.gather(*(_soon(start) for start in random.sample(starts, len(starts))))


async def _soon(start) -> None:
    await asyncio.sleep(random.uniform(0, 2))
    await start()


async def _delete(city: City, count: int) -> None:
    """So many READY images."""
    async with httpx.AsyncClient(base_url=city.url, timeout=20, verify=TLS) as client:
        found = (await client.get("/api/v1/images?status=READY&limit=100")).json() if count else []
    for image in random.sample(found, count):
        await city.load.delete(image["id"])


async def _a_decoding_worker(city: City) -> Running:
    """One whose renderer works at a large photo. A photo that was done before we looked is followed by another."""
    connection = await asyncpg.connect(city.direct["DATABASE_URL"])
    try:
        async with asyncio.timeout(60):
            while True:
                image = await city.load.upload(photos.a_twelve_megapixel_photo() + uuid4().bytes)
                used: dict[str, float] = {}
                while (worker := await connection.fetchval(AT_WORK, image)) != DONE:
                    for running in [one for one in city.workers if worker.endswith(f":{one.pid}")]:
                        now = _renderers_used(running)
                        if now - used.setdefault(worker, now) >= 0.03:
                            return running
                    await asyncio.sleep(0.02)
    finally:
        await connection.close()


def _renderers_used(running: Running) -> float:
    """Seconds of a core."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process(running.pid).children())
