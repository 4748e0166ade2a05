"""A separate database, Valkey database and data directory for each test, on shared servers."""

import itertools
from pathlib import Path

import asyncpg
import redis.asyncio as redis

import gallery_processes
from gallery.settings import Settings

TEMPLATE = "template_gallery"
NUMBERS = itertools.count(1)


async def application_environment(servers: Settings, folder: Path) -> dict[str, str]:
    """The environment of Gallery's processes."""
    number = next(NUMBERS)
    database = await create_database(str(servers.database.url), f"test_{number}", template=TEMPLATE)
    valkey = f"{servers.redis.url}/{number % 15 + 1}"
    async with redis.from_url(valkey) as client:
        await client.flushdb()
    data = {"DATABASE_URL": database, "REDIS_URL": valkey, "GALLERY_DATA_DIR": str(folder / "data")}
    return {**gallery_processes.base_environment(), **data, "GALLERY_REDIS__PREFIX": f"test{number}"}


async def create_database(server: str, name: str, *, template: str) -> str:
    """A new database as a copy of another; returns its URL. A copy of `TEMPLATE` becomes an installation of its own."""
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    finally:
        await connection.close()
    url = f"{server.rsplit('/', 1)[0]}/{name}"
    if template == TEMPLATE:
        await _set_own_installation(url)
    return url


async def _set_own_installation(url: str) -> None:
    """Processes of one installation share memory; those of two tests must not."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("UPDATE installation SET id = gen_random_uuid()")
    finally:
        await connection.close()
