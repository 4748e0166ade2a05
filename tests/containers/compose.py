"""deploy/compose.yaml as it is, started by podman-compose."""

import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from containers.engine import Engine
from deploy.manifests import DEPLOY, assignments, compose
from gallery_processes import free_port

PROJECT = "gallery-story"
GATEWAY = "172.30.77.1"  # of the network that compose.yaml makes: Podman answers for names there


@dataclass(frozen=True)
class ComposeStack:
    engine: Engine
    folder: Path
    url: str
    environment: dict[str, str]

    async def __call__(self, *args: str) -> str:
        command = Path(sys.executable).parent / "podman-compose"
        file = DEPLOY / "compose.yaml"
        line = (command, "--project-name", PROJECT, "--file", file, "--env-file", self.folder / "env")
        return await self.engine.run(*line, *args)

    def container_name(self, service: str, number: int = 1) -> str:
        return f"{PROJECT}_{service}_{number}" if service != "postgres" else "gallery-postgres"

    async def wait_for(self, service: str, condition: str) -> None:
        """Wait for it. Podman before 4.6 cannot do that for podman-compose."""
        if condition == "service_completed_successfully":
            assert await self.engine.podman("wait", self.container_name(service)) == "0", await self.logs()
            return
        for number in range(1, compose()["services"][service]["deploy"].get("replicas", 1) + 1):
            await self.engine.wait_healthy(self.container_name(service, number))

    async def kill(self, name: str) -> None:
        """Kills its first process, and so all of them, as the kernel does when memory is short."""
        container = await self.engine.inspect(name, "--type=container")
        os.kill(container["State"]["Pid"], signal.SIGKILL)

    async def running(self) -> set[str]:
        return set((await self.engine.podman("ps", "--format", "{{.Names}}")).split())

    async def logs(self) -> dict[str, str]:
        names = (await self.engine.podman("ps", "--all", "--format", "{{.Names}}")).split()
        return {name: await self.engine.podman("logs", name) for name in names}


@asynccontextmanager
async def compose_stack(engine: Engine, folder: Path) -> AsyncIterator[ComposeStack]:
    """All of it up and healthy, with passwords of its own."""
    port = free_port()
    given = {name: secrets.token_hex(24) for name in _required_variables()}
    given |= {
        "GALLERY_ACCESS__JWT_SECRET": secrets.token_hex(32),
        "BALANCER_ADDRESS": f"127.0.0.1:{port}",
        "BALANCER_DNS": f"{GATEWAY}:53",
    }
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    stack = ComposeStack(engine, folder, f"http://127.0.0.1:{port}", given)
    try:
        for services in _start_order():
            await stack("up", "--detach", "--no-build", "--no-deps", *services)
            for service, reached in services.items():
                await stack.wait_for(service, reached)
        yield stack
    finally:
        (folder / "logs").write_text("\n".join(f"{name}\n{text}" for name, text in (await stack.logs()).items()))
        await stack("down", "--volumes")


def _start_order() -> Iterator[dict[str, str]]:
    """The services that may start next, each with the condition in compose.yaml that others wait for."""
    services = compose()["services"].items()
    waiting = {name: service.get("depends_on", {}) for name, service in services if "profiles" not in service}
    conditions = {name: how["condition"] for others in waiting.values() for name, how in others.items()}
    while waiting:
        ready = [name for name, others in waiting.items() if not others.keys() & waiting.keys()]
        yield {name: conditions.get(name, "service_healthy") for name in ready}
        waiting = {name: others for name, others in waiting.items() if name not in ready}


def _required_variables() -> list[str]:
    """The required variables of the example, which it leaves empty."""
    needed = (DEPLOY / ".env.example").read_text().split("# --- access")[0]
    return list(assignments(needed))
