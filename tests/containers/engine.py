"""Podman and Buildah with separate storage and settings: no daemon, and no other images."""

import asyncio
import os
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import msgspec

STORAGE = Path(os.environ.get("CONTAINER_STORAGE", "/var/tmp/gallery-container-test"))  # kept, so that layers are
PROCESSES = 4096  # below the machine's limit: not every machine lets a container raise it

CONTAINERS = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""
IMAGES = """
[storage]
driver = "overlay"
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""
REGISTRIES = 'unqualified-search-registries = ["docker.io"]\n'


@dataclass(frozen=True)
class Engine:
    """Runs commands with `environment`, which leads them to the storage."""

    folder: Path
    environment: Mapping[str, str]

    async def podman(self, *args: object, check: bool = True) -> str:
        return await self.run("podman", *args, check=check)

    async def run(self, *args: object, check: bool = True, more: Mapping[str, str] | None = None) -> str:
        """Returns the command's output, stderr too. Raises `CalledProcessError` with it."""
        line = [str(word) for word in args]
        process = await asyncio.create_subprocess_exec(
            *line,
            env={**self.environment, **(more or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        text = "\n".join(line for line in printed.decode(errors="replace").splitlines() if not _is_about_systemd(line))
        if check and process.returncode:
            error = CalledProcessError(process.returncode or 0, line, text)
            error.add_note(text[-4000:])
            raise error
        return text

    async def inspect(self, name: str, *args: str) -> Any:
        """Podman's description of a container, an image or a pod."""
        return msgspec.json.decode(await self.podman("inspect", *args, name))[0]

    async def wait_healthy(self, name: str, seconds: float = 90) -> None:
        """Runs the container's own health check until it succeeds: Podman's timers need a running systemd."""
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_healthy(name):
                    await asyncio.sleep(0.5)
        except TimeoutError as error:
            error.add_note((await self.podman("logs", name, check=False))[-4000:])
            raise

    async def _is_healthy(self, name: str) -> bool:
        try:
            await self.podman("healthcheck", "run", name)
        except CalledProcessError:
            return False
        return True

    async def remove_everything(self) -> None:
        """All but the images."""
        await self.podman("pod", "rm", "--all", "--force", "--time", "0")
        await self.podman("rm", "--all", "--force", "--time", "0", "--volumes")
        await self.podman("volume", "prune", "--force")
        await self.podman("secret", "rm", "--all")
        await self.podman("network", "prune", "--force")


def open_engine(folder: Path = STORAGE) -> Engine:
    folder.mkdir(parents=True, exist_ok=True)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = {
        "CONTAINERS_CONF": ("containers.conf", CONTAINERS.format(files=files, processes=PROCESSES)),
        "CONTAINERS_STORAGE_CONF": ("storage.conf", IMAGES.format(folder=folder)),
        "CONTAINERS_REGISTRIES_CONF": ("registries.conf", REGISTRIES),
    }
    for name, text in settings.values():
        (folder / name).write_text(text)
    surroundings = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    surroundings["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return Engine(
        folder, {**surroundings, **{variable: str(folder / name) for variable, (name, _) in settings.items()}}
    )


async def create_key(engine: Engine, api: str, owner: str) -> str:
    """Creates an API key that may read and write, in a running API as in docs/deployment.md."""
    scopes = ("--scope", "images:read", "--scope", "images:write")
    printed = await engine.podman("exec", api, "gallery", "keys", "create", "--owner", owner, *scopes)
    (key,) = re.findall(r"gk_[0-9a-f]+_[\w-]+", printed)
    return str(key)


def _is_about_systemd(line: str) -> bool:
    """Whether it is Podman's warning that it cannot make timers for health checks without systemd."""
    return "unable to get systemd connection" in line
