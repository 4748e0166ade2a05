"""A real S3 server for the tests: SeaweedFS from its wheel, on loopback, with credentials."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from gallery_processes import free_port

ACCESS_KEY, SECRET_KEY = "the-key", "the-secret"
PORTS = ("master", "filer", "volume", "s3", "admin")
DOMAIN = "s3.test"  # its names are not resolvable
IDENTITIES = {  # the others' keys are their names: see `environment_of`
    ACCESS_KEY: ["Admin", "Read", "Write", "List"],
    "maker": ["Read", "Write", "List", "Admin:created-*"],
    "writer": ["Read", "Write", "List"],
    "reader": ["Read", "List"],
}


class SeaweedFS:
    """One server on its ports and its directory; it may be started again."""

    def __init__(self, folder: Path) -> None:
        names = (*PORTS, *(f"{name}.grpc" for name in PORTS))
        self._ports = {name: free_port() for name in names}
        self._folder = folder
        self._log = folder / "weed.log"
        identities = [identity(name, actions) for name, actions in IDENTITIES.items()]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))

    @property
    def environment(self) -> dict[str, str]:
        """Points Gallery at it; use a bucket of your own: see `create_bucket`."""
        return {
            "S3_ENDPOINT": f"http://127.0.0.1:{self._ports['s3']}",
            "S3_ACCESS_KEY": ACCESS_KEY,
            "S3_SECRET_KEY": SECRET_KEY,
        }

    async def start(self) -> Process:
        ports = (
            f"-{name.replace('.grpc', '')}.port{'.grpc' if '.grpc' in name else ''}={port}"
            for name, port in self._ports.items()
        )
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                Path(sys.executable).parent / "weed",
                "mini",
                f"-dir={self._folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-s3.config={self._folder / 's3.json'}",
                "-s3.autoCreateBucket=false",
                f"-s3.domainName={DOMAIN}",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-admin.ui=false",
                "-webdav=false",  # its default port is the same for every server
                "-volume.max=2000",  # otherwise as many as fit the disk, of 128 MB each, and every bucket takes some
                *ports,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={"HOME": str(self._folder), "PATH": os.environ["PATH"], "TMPDIR": str(self._folder)},
                start_new_session=True,
            )

    async def ready(self, process: Process) -> None:
        """The port opens long before an object can be put."""
        for _ in range(300):
            try:
                await obstore.put_async(create_bucket(self.environment, "probe"), "probe", b"probe")
            except (BaseError, httpx.HTTPError, RuntimeError):
                assert process.returncode is None, self._log.read_text()[-2000:]
                await asyncio.sleep(0.2)
            else:
                return
        raise RuntimeError(f"the S3 server does not take objects:\n{self._log.read_text()[-2000:]}")

    def clean_up(self) -> None:
        """Removes the sockets that the server creates in /tmp, even with another TMPDIR."""
        for port in self._ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)


@asynccontextmanager
async def s3_server(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Yields the environment that points Gallery at it."""
    server = SeaweedFS(folder)
    process = await server.start()
    try:
        await server.ready(process)
        yield server.environment
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        server.clean_up()


def identity(name: str, actions: list[str]) -> dict[str, Any]:
    secret = SECRET_KEY if name == ACCESS_KEY else f"{name}-secret"
    return {"name": name, "credentials": [{"accessKey": name, "secretKey": secret}], "actions": actions}


def environment_of(name: str, environment: dict[str, str], bucket: str) -> dict[str, str]:
    """The environment of an identity with fewer permissions."""
    return {**environment, "S3_BUCKET": bucket, "S3_ACCESS_KEY": name, "S3_SECRET_KEY": f"{name}-secret"}


def create_bucket(environment: dict[str, str], bucket: str) -> S3Store:
    """A bucket, made where missing."""
    found = bucket_client(environment, bucket)
    answer = httpx.put(obstore.sign(found, "PUT", "", timedelta(minutes=1)))
    if not (answer.is_success or "BucketAlreadyOwnedByYou" in answer.text):
        raise RuntimeError(f"the bucket {bucket} could not be made: {answer.status_code} {answer.text}")
    return found


def bucket_client(environment: dict[str, str], bucket: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=environment["S3_ENDPOINT"],
        access_key_id=environment["S3_ACCESS_KEY"],
        secret_access_key=environment["S3_SECRET_KEY"],
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
