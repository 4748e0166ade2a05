"""deploy/kubernetes, rendered by Kustomize and run by Podman as far as it supports the kinds: a photo becomes READY.

Podman supports Pod, Deployment and ConfigMap; secrets are made by its own command, and the Job is run as the pod that
it would start. Podman's probes need curl inside the container, which the image lacks: the test makes their requests
itself. Everything else is checked by schema, in tests/deploy.
"""

import asyncio
import copy
import json
import random
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import photos
from containers.engine import Engine, create_key
from containers.stand_ins import PYTHON, pulls_images
from deploy.manifests import DEPLOY, compose, secret_examples

NETWORK = "gallery-pods"
PASSWORD = "a-password-of-the-test"
SECRETS = {
    "DATABASE_URL": f"postgresql://postgres:{PASSWORD}@postgres:5432/image_gallery",
    "REDIS_URL": "redis://valkey:6379/0",
    "S3_ENDPOINT": "http://s3:8333",
    "S3_ACCESS_KEY": "key-of-the-test",
    "S3_SECRET_KEY": PASSWORD,
}
SERVER_ENVIRONMENT = {"postgres": {"POSTGRES_DB": "image_gallery", "POSTGRES_PASSWORD": PASSWORD},
        "valkey": {},
        "s3": {"AWS_ACCESS_KEY_ID": SECRETS["S3_ACCESS_KEY"], "AWS_SECRET_ACCESS_KEY": PASSWORD}}  # fmt: skip

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
async def rendered(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The manifests that `kubectl apply --kustomize` applies of the example."""
    if pulls_images():
        pytest.skip("Kustomize is part of the stand-in.")
    mount = f"--volume={DEPLOY}:/deploy:ro"
    text = await engine.podman("run", "--rm", mount, PYTHON, "kustomize", "build", "/deploy/kubernetes-example")
    return list(yaml.safe_load_all(text))


@pytest.fixture(scope="module")
async def servers(engine: Engine) -> AsyncIterator[None]:
    """PostgreSQL, Valkey and S3 beside the pods, as Compose starts them but for passwords and volumes."""
    await engine.podman("network", "create", NETWORK)
    for name, given in SERVER_ENVIRONMENT.items():
        service = compose()["services"][name]
        environment = [f"--env={variable}={value}" for variable, value in given.items()]
        options = [f"--name={name}", f"--health-cmd={json.dumps(service['healthcheck']['test'][1:])}"]
        command = [] if name == "valkey" else service["command"]
        await engine.podman(
            "run", "--detach", f"--network={NETWORK}", *options, *environment, service["image"], *command
        )
    for name in SERVER_ENVIRONMENT:
        await engine.wait_healthy(name)
    yield
    await engine.remove_everything()


@pytest.fixture(scope="module")
async def pods(engine: Engine, image: str, rendered: list[Manifest], servers: None, tmp_path_factory) -> dict[str, str]:
    """The addresses of the pods that run."""
    folder = tmp_path_factory.mktemp("pods")
    await engine.podman("tag", image, image_of(rendered))
    migrate, others = playable(rendered)
    for name, values in secrets().items():
        (folder / name).write_text(json.dumps(values))
        await engine.podman("secret", "create", name, folder / name)
    await play(engine, folder / "migrate.yaml", [migrate])
    assert await engine.podman("wait", "gallery-migrate-migrate") == "0"
    await play(engine, folder / "pods.yaml", [*others["ConfigMap"], *others["Deployment"]])
    names = (await engine.podman("ps", "--format", "{{.Names}}")).split()
    found = {kind: next(name for name in names if name.endswith(f"-{kind}")) for kind in ("api", "worker")}
    return {kind: await pod_address(engine, name) for kind, name in found.items()}


async def test_the_example_leaves_no_placeholder(rendered):
    assert len(rendered) > 10
    assert re.findall(r"<[^<>]+>", yaml.dump_all(rendered)) == []
    assert image_of(rendered).startswith("registry.example.org/gallery-api:")


async def test_the_probes_are_answered(pods):
    async with httpx.AsyncClient() as client, asyncio.timeout(90):
        for url in (f"http://{pods['api']}:3000", f"http://{pods['worker']}:9100"):
            while not await is_ready(client, f"{url}/readyz"):
                await asyncio.sleep(0.5)
            assert (await client.get(f"{url}/livez")).status_code == 200


async def test_pods_run_with_their_restrictions(engine, pods):
    for name in await gallery_containers(engine):
        status = (await engine.podman("exec", name, "cat", "/proc/self/status")).splitlines()
        assert {line.split()[1] for line in status if line.startswith("Uid")} == {"10001"}
        assert {int(line.split()[1], 16) for line in status if line.startswith("Cap")} == {0}
        assert {line.split()[1] for line in status if line.startswith("NoNewPrivs")} == {"1"}
        assert (
            await engine.podman("exec", name, "sh", "-c", "touch /opt/x 2>/dev/null || echo read-only") == "read-only"
        )


async def test_only_the_api_gets_the_verification_secrets(engine, pods):
    for name in await gallery_containers(engine):
        environment = (await engine.inspect(name, "--type=container"))["Config"]["Env"]
        given = {line.partition("=")[0] for line in environment}
        assert ("GALLERY_ACCESS__JWT_SECRET" in given) is name.endswith("-api")
        assert {"DATABASE_URL", "REDIS_URL", "S3_SECRET_KEY"} <= given


async def test_a_photo_becomes_ready(engine, pods):
    (api,) = [name for name in await gallery_containers(engine) if name.endswith("-api")]
    key = await create_key(engine, api, "maya")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"http://{pods['api']}:3000", headers=headers, timeout=60) as client:
        photo = photos.a_jpeg(800, 600, random.randrange(2**31))
        answer = await client.post("/api/v1/images", files={"file": ("a.jpg", photo)}, headers={"Prefer": "wait=30"})
        assert answer.status_code == 201, answer.text
        async with asyncio.timeout(60):
            while (await client.get(f"/api/v1/images/{answer.json()['id']}")).json()["status"] != "READY":
                await asyncio.sleep(0.5)


async def test_pods_shut_down(engine, pods):
    for name in await gallery_containers(engine):
        await engine.podman("stop", "--time=45", name)
        container = await engine.inspect(name, "--type=container")
        assert container["State"]["ExitCode"] in (0, 143)
        assert "Traceback" not in await engine.podman("logs", name)


def image_of(manifests: list[Manifest]) -> str:
    (image,) = {manifest["spec"]["template"]["spec"]["containers"][0]["image"]
                for manifest in manifests if manifest["kind"] in ("Deployment", "Job")}  # fmt: skip
    return str(image)


def playable(manifests: list[Manifest]) -> tuple[Manifest, dict[str, list[Manifest]]]:
    """The migration as a pod, and the kinds that Podman supports, without probes."""
    found = {kind: [copy.deepcopy(m) for m in manifests if m["kind"] == kind] for kind in ("ConfigMap", "Deployment")}
    for deployment in found["Deployment"]:
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                del container[probe]
    (job,) = [manifest for manifest in manifests if manifest["kind"] == "Job"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gallery-migrate"}}
    return {**pod, "spec": job["spec"]["template"]["spec"]}, found


def secrets() -> dict[str, dict[str, str]]:
    """Those of the example, with values that lead to the servers here, in the form that Podman before 4.4 reads."""
    return {
        name: {key: b64encode(SECRETS.get(key, value).encode()).decode() for key, value in secret["stringData"].items()}
        for name, secret in secret_examples().items()
    }


async def play(engine: Engine, path: Path, manifests: list[Manifest]) -> None:
    path.write_text(yaml.dump_all(manifests))
    await engine.podman("kube", "play", f"--network={NETWORK}", path)


async def gallery_containers(engine: Engine) -> list[str]:
    names = (await engine.podman("ps", "--format", "{{.Names}}")).split()
    return [name for name in names if name.endswith(("-api", "-worker"))]


async def pod_address(engine: Engine, name: str) -> str:
    """The address of its pod, which is that of the pod's infra container."""
    pod = (await engine.inspect(name, "--type=container"))["Pod"]
    holder = json.loads(await engine.podman("pod", "inspect", "--format={{json .InfraContainerID}}", pod))
    return str((await engine.inspect(holder, "--type=container"))["NetworkSettings"]["Networks"][NETWORK]["IPAddress"])


async def is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False
