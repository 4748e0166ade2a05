"""Pictures on demand while renderers, the API and the object store die."""

import asyncio
import signal

import asyncpg
import httpx
import psutil

import photos
from faults.deployment import Deployment
from faults.intensity import in_full_only
from gallery.settings import Settings
from gallery.wiring import open_gallery
from gallery_processes import api, free_port
from http_clients import TLS_CONTEXT

CLIENTS = 200
OBJECTS = "SELECT count(*) FROM object WHERE key LIKE 'pictures/%'"
KEPT = "SELECT count(*) FROM picture WHERE key IS NOT NULL"


async def test_two_hundred_clients_of_two_processes_cause_one_rendering(deployment):
    image = await _ready_image(deployment)
    other = await deployment.stack.enter_async_context(
        api(deployment.environment, deployment.logs, PORT=str(free_port()))
    )
    paths = [f"{url}/api/v1/images/{image}/picture?w=333" for url in (deployment.url, other.url)]
    async with _client() as client:
        answers = await asyncio.gather(*(_get_until_answered(client, paths[n % 2]) for n in range(CLIENTS)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert await _count(deployment, OBJECTS) == 1


@in_full_only
async def test_the_api_dies_while_it_makes_a_picture(deployment):
    """With its claim, and between put and row: the next process makes the picture, and no object stays behind."""
    image = await _ready_image(deployment)
    for failpoint, width in (("picture-claimed", 100), ("picture-put", 110)):
        await deployment.stop_api(signal.SIGTERM)
        await deployment.start_api(GALLERY_FAULT=failpoint)
        async with _client() as client:
            path = f"/api/v1/images/{image}/picture?w={width}"
            asking = asyncio.create_task(_get_until_answered(client, deployment.url + path))
            await deployment.wait_until_api_dies()
            await deployment.start_api()
            assert (await asking).status_code == 200
    await _check_agreement(deployment, kept=2)


async def test_a_renderer_is_killed_at_a_picture(deployment):
    """The client that waits for it is told to come back, no other picture suffers, and its image stays READY."""
    image = await _ready_image(deployment, photos.a_forty_megapixel_photo())
    slow = f"/api/v1/images/{image}/picture?rect=0,0,7000,5000&w=6000&format=avif&q=90"
    async with _client() as client:
        asking = asyncio.create_task(client.get(deployment.url + slow))
        await (await _renderer(deployment)).kill_and_wait()
        refused = await asking
        assert (refused.status_code, refused.json()["code"]) == (503, "picture_not_made")
        assert "retry-after" in refused.headers
        small = await client.get(f"{deployment.url}/api/v1/images/{image}/picture?w=100")
        assert small.status_code == 200
        facts = (await client.get(f"{deployment.url}/api/v1/images/{image}")).json()
        assert facts["status"] == "READY"
    assert await _count(deployment, "SELECT max(strikes) FROM picture") == 1


async def test_the_store_is_lost_while_a_picture_is_made(deployment):
    """A 503, nothing kept, nothing forgotten; when the store is back, the same request succeeds."""
    image = await _ready_image(deployment)
    path = f"{deployment.url}/api/v1/images/{image}/picture?w=120"
    async with _client() as client:
        assert (await client.get(f"{deployment.url}/api/v1/images/{image}/picture?w=121")).status_code == 200
        deployment.store.refusing = True
        deployment.store.reset_connections()
        refused = await client.get(path)
        assert refused.status_code == 503
        assert (await client.get(f"{deployment.url}/api/v1/images/{image}")).status_code == 200
        deployment.restore()
        assert (await _get_until_answered(client, path)).status_code == 200
    await _check_agreement(deployment, kept=2)


async def _ready_image(deployment: Deployment, content: bytes | None = None) -> str:
    """An image that a worker has rendered; the worker has stopped since then."""
    deployment.environment["GALLERY_PICTURES__BUDGET"] = "1000"
    await deployment.start_api()
    worker = await deployment.start_worker()
    async with _client() as client:
        file = {"file": ("a.jpg", content or photos.a_jpeg(width=1200, height=900))}
        answer = await client.post(f"{deployment.url}/api/v1/images", files=file, headers={"Prefer": "wait=60"})
    assert answer.json()["status"] == "READY", answer.text
    deployment.workers.remove(worker)
    await worker.stop(signal.SIGTERM)
    return str(answer.json()["id"])


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=60, verify=TLS_CONTEXT, limits=httpx.Limits(max_connections=CLIENTS))


async def _get_until_answered(client: httpx.AsyncClient, url: str) -> httpx.Response:
    """As a client with retries does: again after a broken connection and after a 503."""
    async with asyncio.timeout(60):
        while True:
            try:
                answer = await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.2)
                continue
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.5)


class _Renderer:
    def __init__(self, process: psutil.Process) -> None:
        self._process = process

    async def kill_and_wait(self) -> None:
        self._process.kill()
        await asyncio.to_thread(psutil.wait_procs, [self._process], timeout=10)


async def _renderer(deployment: Deployment) -> _Renderer:
    """The API's renderer, as soon as it works: a child process that has used some CPU."""
    async with asyncio.timeout(60):
        while True:
            for child in psutil.Process(deployment.apis[-1].pid).children(recursive=True):
                if await _count(deployment, "SELECT count(*) FROM picture WHERE lease_until > now()") and _works(child):
                    return _Renderer(child)
            await asyncio.sleep(0.05)


def _works(child: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(child.cmdline()) and child.cpu_times().user > 1
    except psutil.NoSuchProcess:
        return False


async def _count(deployment: Deployment, statement: str) -> int:
    connection = await asyncpg.connect(deployment.direct_environment["DATABASE_URL"])
    try:
        return int(await connection.fetchval(statement))
    finally:
        await connection.close()


async def _check_agreement(deployment: Deployment, kept: int) -> None:
    """Rows and objects agree after the sweep: what was put without a row is known, and removed."""
    async with open_gallery(Settings.read(deployment.direct_environment)) as gallery:
        async with gallery.database.writing() as db:
            await db.execute("UPDATE object SET remove_after = now() WHERE remove_after IS NOT NULL")
        await gallery.sweep.run()
        assert [finding async for finding in gallery.verify.differences()] == []
        stored = [found async for batch in gallery.objects.list("pictures") for found in batch]
    assert await _count(deployment, KEPT) == kept == len(stored)
