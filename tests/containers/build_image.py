"""The image of the Dockerfile, built with the settings of pip that this machine has."""

import subprocess
import sys
from pathlib import Path

from containers.engine import Engine
from deploy.manifests import ROOT

IMAGE = "docker.io/library/gallery-api:latest"  # as Compose's and Kubernetes' short name is read
PIP_SETTINGS = ("url", "proxy", "timeout", "host")  # the ends of the names of pip's settings for package sources


async def build(engine: Engine) -> str:
    """Builds the image; the build's own settings do not stay in it."""
    given = [f"--volume={folder}:{folder}:ro" for folder in _certificates()]
    settings = engine.folder / "pip.conf"
    settings.write_text(_pip_conf())
    given.append(f"--volume={settings}:/etc/pip.conf:ro")
    await engine.run(
        "buildah", "build", "--layers", "--format=docker", "--network=host", *given, f"--tag={IMAGE}", ROOT
    )
    return IMAGE


def _pip_config() -> dict[str, str]:
    """By name the machine's settings of pip, which come as `global.cert='…'`; those of the environment go first."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    lines = sorted(done.stdout.splitlines(), key=lambda line: line.startswith(":env:"))
    pairs = (line.partition("=") for line in lines)
    return {name.rpartition(".")[2]: value.strip("'") for name, _, value in pairs}


def _pip_conf() -> str:
    """The settings of the package sources; files of this machine are not in the build."""
    found = {
        name: value
        for name, value in _pip_config().items()
        if name.rpartition("-")[2] in PIP_SETTINGS and "file:" not in value
    }
    if certificates := _certificates():
        found["cert"] = str(next(iter(certificates.values())))
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in found.items()), ""])


def _certificates() -> dict[Path, Path]:
    """By its folder the file with which pip verifies, where it is not its own."""
    path = _pip_config().get("cert")
    return {Path(path).parent: Path(path)} if path else {}
