"""A real S3 server for the tests: SeaweedFS from its wheel, on loopback, with credentials."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

ACCESS_KEY, SECRET_KEY = "the-key", "the-secret"
PORTS = ("master", "filer", "volume", "s3", "admin")
FIRST_PORT = 18_000  # below the ephemeral ports


@asynccontextmanager
async def s3_server(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Yields the environment that points Gallery at it; use a bucket of your own, it is made by the first put."""
    ports = dict(zip((*PORTS, *(f"{name}.grpc" for name in PORTS)), free_ports(2 * len(PORTS)), strict=True))
    config = folder / "s3.json"
    identity = {"name": "gallery", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]}
    config.write_text(json.dumps({"identities": [{**identity, "actions": ["Admin", "Read", "Write", "List"]}]}))
    with (folder / "weed.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "weed",
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.config={config}",
            "-s3.autoCreateBucket=true",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-admin.ui=false",
            *(
                f"-{name.replace('.grpc', '')}.port{'.grpc' if '.grpc' in name else ''}={port}"
                for name, port in ports.items()
            ),
            stdout=log,
            stderr=log,
            cwd=folder,
            env={"HOME": str(folder), "PATH": os.environ["PATH"]},
            start_new_session=True,
        )
    environment = {
        "S3_ENDPOINT": f"http://127.0.0.1:{ports['s3']}",
        "S3_ACCESS_KEY": ACCESS_KEY,
        "S3_SECRET_KEY": SECRET_KEY,
    }
    try:
        await _until_it_takes_objects(environment, folder / "weed.log")
        yield environment
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def store(environment: dict[str, str], bucket: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=environment["S3_ENDPOINT"],
        access_key_id=environment["S3_ACCESS_KEY"],
        secret_access_key=environment["S3_SECRET_KEY"],
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def free_ports(count: int) -> list[int]:
    ports: list[int] = []
    for port in range(FIRST_PORT + os.getpid() % 5000, 32_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            return ports
    raise RuntimeError("no free ports")


async def _until_it_takes_objects(environment: dict[str, str], log: Path) -> None:
    """The port opens long before an object can be put."""
    probe = store(environment, "probe")
    for _ in range(150):
        try:
            await obstore.put_async(probe, "probe", b"probe")
        except BaseError:
            await asyncio.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the S3 server does not take objects:\n{log.read_text()[-2000:]}")
