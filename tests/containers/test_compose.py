"""All of Compose: a photo from upload to rendition, and an API and a worker killed under load."""

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from httpx_sse import aconnect_sse

import photos
from containers.compose import ComposeStack, compose_stack
from containers.engine import create_key
from deploy.manifests import compose
from faults.load import Load

pytestmark = pytest.mark.usefixtures("image")

MAX_START_SECONDS = 120  # seconds until an image is READY, on a machine that has just started ten processes
SERVERS = ("postgres", "valkey", "s3", "balancer")


@pytest.fixture(scope="module")
async def stack(engine, image, tmp_path_factory) -> AsyncIterator[ComposeStack]:
    async with compose_stack(engine, tmp_path_factory.mktemp("compose")) as up:
        yield up


@pytest.fixture(scope="module")
async def maya(stack: ComposeStack) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key, behind the balancer."""
    headers = {"Authorization": f"Bearer {await create_key(stack.engine, stack.container_name('api'), 'maya')}"}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=30) as client:
        yield client


async def test_all_services_run_with_the_restrictions_of_compose(stack):
    expected = {stack.container_name(name) for name in SERVERS}
    expected |= {stack.container_name("api", number) for number in (1, 2, 3)}
    expected |= {stack.container_name("worker", number) for number in (1, 2)}
    assert await stack.running() == expected
    migrated = await stack.engine.inspect(stack.container_name("migrate"), "--type=container")
    assert migrated["State"]["ExitCode"] == 0
    for name in (stack.container_name("api"), stack.container_name("worker")):
        status = (await stack.engine.podman("exec", name, "cat", "/proc/1/status", "/proc/self/status")).splitlines()
        assert {line.split()[1] for line in status if line.startswith("Uid")} == {"10001"}
        assert {int(line.split()[1], 16) for line in status if line.startswith("Cap")} == {0}
        assert {line.split()[1] for line in status if line.startswith("NoNewPrivs")} == {"1"}


async def test_workers_are_given_neither_the_secret_of_tokens_nor_grafanas(stack):
    """The API verifies by it; workers have started without."""
    secret = stack.environment["GALLERY_ACCESS__JWT_SECRET"]
    for name, has_it in (
        (stack.container_name("api"), True),
        (stack.container_name("worker"), False),
        (stack.container_name("migrate"), False),
    ):
        environment = (await stack.engine.inspect(name, "--type=container"))["Config"]["Env"]
        assert (secret in str(environment)) is has_it
        assert stack.environment["GRAFANA_PASSWORD"] not in str(environment)


async def test_a_photo_passes_the_balancer_with_its_events_and_renditions(stack, maya):
    async with aconnect_sse(maya, "GET", "/api/v1/notifications/stream") as stream:
        assert stream.response.status_code == 200
        photo = photos.a_jpeg(1200, 900, random.randrange(2**31))
        answer = await maya.post("/api/v1/images", files={"file": ("lake.jpg", photo)}, data={"title": "Lake"})
        assert answer.status_code == 201, answer.text
        image = answer.json()["id"]
        async with asyncio.timeout(MAX_START_SECONDS):
            async for event in stream.aiter_sse():
                if event.event == "image.ready" and event.json()["imageId"] == image:
                    break
    shown = (await maya.get(f"/api/v1/images/{image}")).json()
    assert shown["status"] == "READY"
    for rendition in shown["renditions"]:
        assert len((await maya.get(rendition["url"])).content) == rendition["size"]
    assert (await maya.get(f"/api/v1/images/{image}/original")).content == photo


async def test_anonymous_clients_are_refused_and_cannot_choose_their_address(stack):
    async with httpx.AsyncClient(base_url=stack.url) as anonymous:
        assert (await anonymous.get("/api/v1/images")).status_code == 401
        assert (await anonymous.get("/readyz", headers={"X-Forwarded-For": "203.0.113.7"})).status_code == 200
    logs = "".join([await stack.engine.podman("logs", stack.container_name("api", n)) for n in (1, 2, 3)])
    assert "203.0.113.7" not in logs


async def test_all_that_was_acknowledged_becomes_ready_though_an_api_and_a_worker_are_killed(stack, maya):
    load = Load(stack.url, rate=4, headers={"Authorization": maya.headers["Authorization"]})
    reading = asyncio.create_task(_read(maya))
    loading = asyncio.create_task(load.run(30))
    await asyncio.sleep(8)
    await stack.kill(stack.container_name("api", 2))
    await asyncio.sleep(7)
    await stack.kill(stack.container_name("worker", 2))
    await loading
    assert len(load.acknowledged) > 60
    async with asyncio.timeout(240):
        while waiting := await _not_ready(maya, load):
            await asyncio.sleep(1)
    assert not waiting
    for image, sha256 in random.sample(sorted(load.acknowledged.items()), 20):
        original = await maya.get(f"/api/v1/images/{image}/original")
        assert hashlib.sha256(original.content).hexdigest() == sha256
    reading.cancel()
    verified = await stack.engine.podman("exec", stack.container_name("api", 1), "gallery", "verify")
    assert "Traceback" not in verified


async def test_killed_services_restart_and_no_log_has_a_bug(stack):
    """`restart: unless-stopped`."""
    async with asyncio.timeout(60):
        while not {stack.container_name("api", 2), stack.container_name("worker", 2)} <= await stack.running():
            await asyncio.sleep(1)
    await stack.engine.wait_healthy(stack.container_name("api", 2))
    secrets = {value for name, value in stack.environment.items() if name.endswith(("PASSWORD", "SECRET", "KEY"))}
    for name, text in (await stack.logs()).items():
        assert "Traceback" not in text, name
        if re.search("_(api|worker|migrate)_", name):
            assert [secret for secret in secrets if secret in text] == [], name


def test_the_tests_know_all_services_of_compose():
    services = {name for name, service in compose()["services"].items() if "profiles" not in service}
    assert services == {*SERVERS, "api", "worker", "migrate"}


async def _read(client: httpx.AsyncClient) -> None:
    while True:
        try:
            await client.get("/api/v1/images?limit=20")
        except httpx.HTTPError:
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.05)


async def _not_ready(client: httpx.AsyncClient, load: Load) -> list[str]:
    ids = sorted(load.acknowledged)
    found = {}
    for start in range(0, len(ids), 50):
        answer = await client.get("/api/v1/images", params={"ids": ",".join(ids[start : start + 50]), "limit": 50})
        found |= {image["id"]: image["status"] for image in answer.json()}
    assert found.keys() == load.acknowledged.keys(), "an acknowledged image is lost"
    return [image for image in ids if found[image] != "READY"]
