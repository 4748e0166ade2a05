"""A separate database, Valkey database and data directory for each test, on shared servers."""

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil
import redis.asyncio as redis

import gallery_processes
from gallery.settings import Settings

TEMPLATE = "template_gallery"
NUMBERS = itertools.count(1)
MEMORY_DISK = Path("/dev/shm")
NEEDED_MEMORY_GB = 4  # for the servers of four test processes, and as much for the kernel's other pages


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for the data of the tests' servers, in memory where there is enough: a copied database has 400 files."""
    with tempfile.TemporaryDirectory(
        prefix="gallery-tests-", dir=MEMORY_DISK if _has_enough_memory() else None
    ) as name:
        yield Path(name)


def _has_enough_memory() -> bool:
    if not MEMORY_DISK.is_dir():
        return False
    return min(shutil.disk_usage(MEMORY_DISK).free, psutil.virtual_memory().available) >= NEEDED_MEMORY_GB * 10**9


async def application_environment(servers: Settings, folder: Path) -> dict[str, str]:
    """The environment of Gallery's processes."""
    number = next(NUMBERS)
    database = await create_database(str(servers.database.url), f"test_{number}", template=TEMPLATE)
    valkey = f"{servers.redis.url}/{number % 15 + 1}"
    async with redis.from_url(valkey) as client:
        await client.flushdb()
    data = {"DATABASE_URL": database, "REDIS_URL": valkey, "GALLERY_DATA_DIR": str(folder / "data")}
    return {**gallery_processes.base_environment(), **data, "GALLERY_REDIS__PREFIX": f"test{number}"}


async def stop_syncing(server: str) -> None:
    """Lets PostgreSQL leave its writes to the kernel: the tests' data need not outlive the machine."""
    async with _connected(server) as connection:
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")


async def create_database(server: str, name: str, *, template: str) -> str:
    """A new database as a copy of another; returns its URL. A copy of `TEMPLATE` becomes an installation of its own."""
    async with _connected(server) as connection:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    url = f"{server.rsplit('/', 1)[0]}/{name}"
    if template == TEMPLATE:
        await _set_own_installation(url)
    return url


async def drop_database(server: str, url: str) -> None:
    """Ends its connections too."""
    async with _connected(server) as connection:
        await connection.execute(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')


async def _set_own_installation(url: str) -> None:
    """Processes of one installation share memory; those of two tests must not."""
    async with _connected(url) as connection:
        await connection.execute("UPDATE installation SET id = gen_random_uuid()")


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
