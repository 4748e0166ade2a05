"""The servers of a benchmark: PostgreSQL, Valkey and S3 for all, and Gallery's processes in one or two versions."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil

import gallery_processes
from bench import ROOT
from bench.load import PEER, Target
from gallery.embedded.servers import open_servers
from s3 import s3_server

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log combined buffer=32k flush=1s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    sendfile on;
    tcp_nopush on;
    server {{ listen 127.0.0.1:{port}; root {folder}/files; }}
}}
"""


@dataclass(frozen=True)
class Version:
    """Gallery's code in one version, and the variables with which its processes run it."""

    name: str
    variables: dict[str, str]


class Servers:
    """What all groups share. Each version has a database, a Valkey database and a directory for each store."""

    def __init__(
        self, folder: Path, stack: AsyncExitStack, versions: list[Version], against: str | None, rounds: int
    ) -> None:
        self.folder = folder
        self.versions = versions
        self.against = against
        self.rounds = rounds
        self._stack = stack
        self._environments: dict[tuple[str, str], dict[str, str]] = {}
        self._s3: dict[str, str] = {}

    async def start(self) -> None:
        running = await self._stack.enter_async_context(open_servers(self.folder / "servers"))
        self.database_url, self.valkey_url = str(running.database_url), str(running.redis_url)
        self.processes = {"PostgreSQL": _child("postgres"), "Valkey": _child("valkey-server")}

    async def environment(self, version: Version, store: str = "files") -> dict[str, str]:
        """The environment of the processes of a version with its data in `files` or `s3`."""
        key = (version.name, store)
        if key not in self._environments:
            name = f"{version.name}_{store}"
            number = len(self._environments)
            found = {
                **gallery_processes.base_environment(),
                **version.variables,
                "DATABASE_URL": await self._create_database(name),
                "REDIS_URL": f"{self.valkey_url}/{number}",
                "GALLERY_REDIS__PREFIX": name,
                "GALLERY_DATA_DIR": str(self.folder / name),
                "GALLERY_DATABASE__POOL_SIZE": "12",  # up to six APIs share the 100 connections of this PostgreSQL
            }
            if store == "s3":
                found |= await self._start_s3() | {"S3_BUCKET": name.replace("_", "-")}
            self._environments[key] = found
        return self._environments[key]

    @asynccontextmanager
    async def api(self, version: Version, store: str = "files", name: str = "", **more: str) -> AsyncIterator[Target]:
        """One API process, ready; it is the first of the target's processes."""
        environment = await self.environment(version, store)
        async with gallery_processes.api(environment, self.folder / "logs", **more) as running:
            processes = {"API": running.pid, **self.processes}
            if store == "s3":
                processes["S3"] = _child("weed")
            yield Target(name or version.name, urlsplit(running.url).port or 0, processes)

    @asynccontextmanager
    async def worker(self, version: Version, store: str = "files") -> AsyncIterator[gallery_processes.RunningProcess]:
        environment = await self.environment(version, store)
        async with gallery_processes.worker(environment, self.folder / "logs") as running:
            yield running

    async def make_key(self, version: Version, owner: str) -> str:
        """A new API key with all rights on an owner's images."""
        environment = await self.environment(version)
        words = ("keys", "create", "--owner", owner, "--scope", "images:read", "--scope", "images:write")
        process = await asyncio.create_subprocess_exec(
            gallery_processes.GALLERY, *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        out, _ = await process.communicate()
        return out.decode().strip()

    @asynccontextmanager
    async def bare(self, size: int) -> AsyncIterator[Target]:
        """The bare answer of so many bytes."""
        port = gallery_processes.free_port()
        words = (sys.executable, "-m", "bench.bare", port, size)
        async with running_program(*words) as pid:
            await _wait_for(f"http://127.0.0.1:{port}/")
            yield Target("bare", port, {"bare": pid})

    @asynccontextmanager
    async def nginx(self, files: dict[str, bytes]) -> AsyncIterator[Target]:
        """One nginx with one worker process, serving these files by their names."""
        folder, port = self.folder / "nginx", gallery_processes.free_port()
        (folder / "files").mkdir(parents=True)
        for name, content in files.items():
            (folder / "files" / name).write_bytes(content)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port) + "\n")
        user = () if psutil.Process().uids().real else ("-g", "user root;")
        async with running_program("nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log", *user) as pid:
            await _wait_for(f"http://127.0.0.1:{port}/{next(iter(files))}")
            yield Target("nginx", port, {"nginx": pid})

    def peer(self) -> Target | None:
        """The implementation to compare with, which has to run on this machine."""
        if not self.against:
            return None
        port = urlsplit(self.against).port or 80
        pids = [one.pid for one in psutil.net_connections("tcp") if one.status == "LISTEN" and one.laddr.port == port]
        if not pids or pids[0] is None:
            raise SystemExit(f"No process of this machine listens on port {port}, so its CPU cannot be measured.")
        return Target(PEER, port, {"API": pids[0]})

    async def _create_database(self, name: str) -> str:
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return f"{self.database_url.rsplit('/', 1)[0]}/{name}"

    async def _start_s3(self) -> dict[str, str]:
        if not self._s3:
            folder = self.folder / "s3"
            folder.mkdir()
            self._s3 = await self._stack.enter_async_context(s3_server(folder))
        return self._s3


@contextmanager
def checked_out(ref: str, folder: Path) -> Iterator[Version]:
    """The version at a git ref: its code, and its own packages when its lock file is another one."""
    code, packages = folder / "baseline", folder / "packages"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", code, ref], cwd=ROOT, check=True)
    try:
        paths = [code / "src"]
        lock = code / "requirements.lock"
        if lock.read_bytes() != (ROOT / "requirements.lock").read_bytes():
            uv = Path(sys.executable).parent / "uv"
            words = ("pip", "install", "--quiet", "--target", packages, "--no-deps", "--require-hashes", "-r", lock)
            subprocess.run([uv, *words], check=True)
            paths.append(packages)
        yield Version("baseline", {"PYTHONPATH": ":".join(map(str, paths))})
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", code], cwd=ROOT, check=True)


@asynccontextmanager
async def running_program(*words: object) -> AsyncIterator[int]:
    """The process id of a program that runs until the end of the block."""
    process = await asyncio.create_subprocess_exec(*map(str, words), cwd=ROOT)
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _child(program: str) -> int:
    """The process id of this process's child that runs a program; the newest, if there are several."""
    children = psutil.Process().children()
    return max((c.create_time(), c.pid) for c in children if Path(c.cmdline()[0]).name == program)[1]


async def _wait_for(url: str) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(20):
        while True:
            try:
                (await client.get(url)).raise_for_status()
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
            else:
                return
