"""The load balancer of deploy/haproxy/haproxy.cfg as a process, and the name server where it looks up its instances."""

import asyncio
import ipaddress
import os
import re
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gallery_processes import base_environment, free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

TYPE_A, CLASS_IN = 1, 1


@dataclass
class Balancer:
    url: str
    stats_url: str
    log: Path

    async def wait_for_servers(self, count: int, seconds: float = 20) -> None:
        """Wait until the balancer sends requests to `count` instances."""
        async with asyncio.timeout(seconds):
            while await self.read_metric("active_servers") != count:
                await asyncio.sleep(0.1)

    async def read_metric(self, name: str) -> int:
        """A metric of HAProxy about the API."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"{self.stats_url}/metrics", params={"scope": "backend"})).text
        found = re.search(rf'^haproxy_backend_{name}{{proxy="api"}} (\d+)', text, re.MULTILINE)
        assert found, f"HAProxy does not count {name}"
        return int(found[1])


@asynccontextmanager
async def balancer(hosts: Sequence[str], port: int, folder: Path) -> AsyncIterator[Balancer]:
    """A balancer for instances at `port` of each of `hosts`, which it finds under one name."""
    bind, watch = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    async with name_server(hosts) as dns:
        log = folder / "haproxy.log"
        environment = {
            **base_environment(),
            "BALANCER_BIND": bind,
            "BALANCER_WATCH": watch,
            "BALANCER_DNS": dns,
            "BALANCER_API": f"api:{port}",
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                str(HAPROXY), "-f", str(CONFIGURATION), env=environment, stdout=output, stderr=output
            )
        try:
            async with httpx.AsyncClient() as client, asyncio.timeout(10):
                while not await _is_ready(client, f"http://{watch}/livez"):
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.02)
            yield Balancer(f"http://{bind}", f"http://{watch}", log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


@asynccontextmanager
async def name_server(hosts: Sequence[str]) -> AsyncIterator[str]:
    """Answers each name with these addresses, as Docker's does for a scaled service. Yields its own address."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: NameServerProtocol(hosts), local_addr=("127.0.0.1", 0), family=socket.AF_INET
    )
    try:
        host, port = transport.get_extra_info("sockname")
        yield f"{host}:{port}"
    finally:
        transport.close()


class NameServerProtocol(asyncio.DatagramProtocol):
    def __init__(self, hosts: Sequence[str]) -> None:
        self._addresses = [ipaddress.IPv4Address(host).packed for host in hosts]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        """Answers one question with all addresses (RFC 1035, 4.1)."""
        number = data[:2]
        end = data.index(b"\0", 12) + 1  # the name's last, empty label
        kind, _ = struct.unpack(">HH", data[end : end + 4])
        found = self._addresses if kind == TYPE_A else []
        head = number + struct.pack(">HHHHH", 0x8180, 1, len(found), 0, 0)  # a response, with recursion, no error
        name_pointer = b"\xc0\x0c"
        answers = [name_pointer + struct.pack(">HHIH", TYPE_A, CLASS_IN, 1, 4) + packed for packed in found]
        self._transport.sendto(head + data[12 : end + 4] + b"".join(answers), address)  # type: ignore[attr-defined]
