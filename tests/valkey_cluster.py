"""A real Valkey Cluster: three masters with a replica each, configured by commands, with a fast failover."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.asyncio as redis

from gallery.embedded.launch import free_port
from gallery.embedded.valkey import server_program

MASTERS = 3
SLOTS = 16_384
OPTIONS = {
    "--bind": "127.0.0.1",
    "--save": "",
    "--appendonly": "no",
    "--cluster-enabled": "yes",
    "--cluster-node-timeout": "1000",  # after that a master counts as failed; its replica is elected 0.5 s later
    "--cluster-replica-validity-factor": "0",
    "--repl-diskless-sync-delay": "0",
    "--maxmemory-policy": "noeviction",
}


class Node:
    def __init__(self, folder: Path, taken: set[int]) -> None:
        self.port = free_port(None, taken)
        self.bus = free_port(None, taken | {self.port})
        self.folder = folder / str(self.port)
        self.process: asyncio.subprocess.Process | None = None
        taken |= {self.port, self.bus}

    async def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        arguments = [w for option in OPTIONS.items() for w in option]
        with (self.folder / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                server_program(),
                *(*arguments, "--port", f"{self.port}", "--cluster-port", f"{self.bus}", "--dir", self.folder),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(20):
            while not await self._is_ready():
                await asyncio.sleep(0.02)

    async def execute(self, *words: object) -> object:
        async with redis.Redis(port=self.port, decode_responses=True, protocol=2) as client:
            return await client.execute_command(*words)

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, (self.folder / "log").read_text()
        try:
            return bool(await self.execute("PING"))
        except redis.ConnectionError:
            return False


class Cluster:
    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        """Two nodes suffice to discover the others: at least one of each pair is alive."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port},127.0.0.1:{self.nodes[-1].port}"

    async def create(self) -> None:
        await asyncio.gather(*(node.start() for node in self.nodes))
        masters, replicas = self.nodes[:MASTERS], self.nodes[MASTERS:]
        for number, node in enumerate(self.nodes):
            await node.execute("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, node in enumerate(masters):
            first, last = number * SLOTS // MASTERS, (number + 1) * SLOTS // MASTERS - 1
            await node.execute("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in self.nodes[1:]:
            await node.execute("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus)
        await self._wait_for_info(f"cluster_known_nodes:{len(self.nodes)}")
        for master, replica in zip(masters, replicas, strict=True):
            await replica.execute("CLUSTER", "REPLICATE", await master.execute("CLUSTER", "MYID"))
        await self._wait_for_info("cluster_state:ok")
        async with asyncio.timeout(20):
            while not all(["connected" in await replica.execute("ROLE") for replica in replicas]):
                await asyncio.sleep(0.02)

    async def master_of(self, key: str) -> Node:
        """The node that has the key now."""
        slot = await self.alive_nodes[0].execute("CLUSTER", "KEYSLOT", key)
        shards = await self.alive_nodes[0].execute("CLUSTER", "SLOTS")
        port = next(shard[2][1] for shard in shards if shard[0] <= slot <= shard[1])
        return next(node for node in self.nodes if node.port == port)

    @property
    def alive_nodes(self) -> list[Node]:
        return [node for node in self.nodes if node.process and node.process.returncode is None]

    async def wait_for_failover(self, key: str, failed_node: Node) -> None:
        """Wait until another node has taken over."""
        async with asyncio.timeout(30):
            while await self.master_of(key) is failed_node:
                await asyncio.sleep(0.05)

    async def _wait_for_info(self, text: str) -> None:
        async with asyncio.timeout(30):
            for node in self.nodes:
                while text not in str(await node.execute("CLUSTER", "INFO")):
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def running_cluster() -> AsyncIterator[Cluster]:
    folder, taken = Path(tempfile.mkdtemp(prefix="valkeys-")), set[int]()
    cluster = Cluster([Node(folder, taken) for _ in range(2 * MASTERS)])
    try:
        await cluster.create()
        yield cluster
    finally:
        await asyncio.gather(*(node.kill() for node in cluster.nodes if node.process))
        shutil.rmtree(folder)
