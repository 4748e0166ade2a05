"""Gallery's processes die, freeze, and have wrong clocks."""

import asyncio
import random
import signal
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import psutil

import photos
from faults.deployment import Deployment, check_survives, send_signal
from faults.intensity import in_full_only
from gallery_processes import RunningProcess
from http_clients import TLS_CONTEXT

SECOND_TIME = ":2"
NO_WORKER = "none"
WORKER_OF = f"""
    SELECT CASE WHEN work_state IS NULL THEN '{NO_WORKER}' ELSE coalesce((
        SELECT worker FROM timeline WHERE image_id = $1 AND stage = 'processing' ORDER BY id DESC LIMIT 1
    ), 'not claimed') END FROM image WHERE id = $1
"""


@in_full_only
async def test_the_api_is_killed(deployment):
    async def fault(deployment: Deployment) -> None:
        for _ in range(deployment.intensity.api_kills):
            await asyncio.sleep(0.7)
            await deployment.stop_api()
            await deployment.start_api()

    await check_survives(deployment, fault)


async def test_the_api_dies_between_two_steps_of_an_upload_or_a_delete(deployment):
    async def fault(deployment: Deployment) -> None:
        for failpoint in ("upload-put", "upload-committed", "upload-answer", "delete-committed"):
            await deployment.stop_api(signal.SIGTERM)
            await deployment.start_api(GALLERY_FAULT=failpoint + SECOND_TIME)
            work = [asyncio.create_task(deployment.load.upload()) for _ in range(2)]
            work += [asyncio.create_task(_delete(deployment, 2))] if failpoint.startswith("delete") else []
            await deployment.wait_until_api_dies()
            await deployment.start_api()
            await asyncio.gather(*work)

    await check_survives(deployment, fault)


@in_full_only
async def test_workers_are_killed_while_decoding(deployment):
    """The pictures are so large that a worker is always decoding one when it is killed."""

    async def fault(deployment: Deployment) -> None:
        for _ in range(deployment.intensity.worker_kills):
            victim = await _find_decoding_worker(deployment)
            await deployment.start_worker()
            deployment.workers.remove(victim)
            await victim.stop(signal.SIGKILL)

    await check_survives(deployment, fault)


async def test_workers_die_between_two_steps_of_their_work(deployment):
    async def fault(deployment: Deployment) -> None:
        for failpoint in ("work-claimed", "work-put", "work-settled", "sweep-marked", "sweep-removed"):
            doomed = await deployment.start_worker(GALLERY_FAULT=failpoint)
            for other in deployment.workers[:-1]:
                deployment.workers.remove(other)
                await other.stop(signal.SIGTERM)
            work = [asyncio.create_task(deployment.load.upload()) for _ in range(2)]
            work += [asyncio.create_task(_delete(deployment, 2))] if failpoint.startswith("sweep") else []
            await deployment.wait_until_worker_dies(doomed)
            await deployment.start_worker()
            await asyncio.gather(*work)

    await check_survives(deployment, fault)


@in_full_only
async def test_a_worker_freezes_for_longer_than_its_lease(deployment):
    """After it continues, it must change no image of another worker."""

    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(1)
        send_signal(deployment.workers[0], signal.SIGSTOP)
        await asyncio.sleep(deployment.intensity.suspended_seconds)
        send_signal(deployment.workers[0], signal.SIGCONT)

    await check_survives(deployment, fault)


@in_full_only
async def test_the_clocks_of_all_workers_are_an_hour_wrong(deployment, tmp_path):
    """Leases and pauses use the database's clock. Objects are files: S3 itself refuses clocks that are so far off."""
    clock = tmp_path / "clock.so"
    source = Path(__file__).parent / "clock.c"
    assert await (await asyncio.create_subprocess_exec("cc", "-shared", "-fPIC", "-o", clock, source)).wait() == 0
    deployment.use_file_store(tmp_path / "data")

    async def fault(deployment: Deployment) -> None:
        await asyncio.sleep(deployment.intensity.outage_seconds)
        hours = {worker.log_lines("image.ready")[-1]["timestamp"][11:13] for worker in deployment.workers}
        assert len(hours) == 2, "each worker has its own clock"

    clocks = [{"LD_PRELOAD": str(clock), "CLOCK_OFFSET": offset} for offset in ("3600", "-3600")]
    await check_survives(deployment, fault, workers=clocks)


@in_full_only
async def test_all_processes_die_and_start_in_random_order(deployment):
    async def fault(deployment: Deployment) -> None:
        for _ in range(deployment.intensity.total_kills):
            await asyncio.sleep(1)
            await _kill_and_restart_all(deployment)

    await check_survives(deployment, fault)


async def _kill_and_restart_all(deployment: Deployment) -> None:
    async def kill_a_worker() -> None:
        await deployment.workers.pop().stop(signal.SIGKILL)

    kills = [backend.kill for backend in deployment.backends.all] + [kill_a_worker] * 2 + [deployment.stop_api]
    for kill in random.sample(kills, len(kills)):
        await kill()
    starts = (
        [backend.start for backend in deployment.backends.all] + [deployment.start_worker] * 2 + [deployment.start_api]
    )
    await asyncio.gather(*(_start_later(start) for start in random.sample(starts, len(starts))))


async def _start_later(start) -> None:
    await asyncio.sleep(random.uniform(0, 2))
    await start()


async def _delete(deployment: Deployment, count: int) -> None:
    """Delete `count` READY images."""
    async with httpx.AsyncClient(base_url=deployment.url, timeout=20, verify=TLS_CONTEXT) as client:
        found = (await client.get("/api/v1/images?status=READY&limit=100")).json() if count else []
    for image in random.sample(found, count):
        await deployment.load.delete(image["id"])


async def _find_decoding_worker(deployment: Deployment) -> RunningProcess:
    """A worker whose renderer works at a large photo. When a photo is done too early, another is uploaded."""
    connection = await asyncpg.connect(deployment.direct_environment["DATABASE_URL"])
    try:
        async with asyncio.timeout(60):
            while True:
                image = await deployment.load.upload(photos.a_twelve_megapixel_photo() + uuid4().bytes)
                used: dict[str, float] = {}
                while (worker := await connection.fetchval(WORKER_OF, image)) != NO_WORKER:
                    for running in [each for each in deployment.workers if worker.endswith(f":{each.pid}")]:
                        now = _renderer_cpu_seconds(running)
                        if now - used.setdefault(worker, now) >= 0.03:
                            return running
                    await asyncio.sleep(0.02)
    finally:
        await connection.close()


def _renderer_cpu_seconds(running: RunningProcess) -> float:
    """CPU time of its child processes."""
    return sum(sum(child.cpu_times()[:2]) for child in psutil.Process(running.pid).children())
