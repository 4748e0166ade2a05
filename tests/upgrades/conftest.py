"""A database of the test's own, with nothing in it."""

from uuid import uuid4

import asyncpg
import pytest


@pytest.fixture
async def database(servers):
    """An empty one."""
    name = f"migration_{uuid4().hex}"
    server = await asyncpg.connect(str(servers.database.url))
    try:
        await server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        yield f"{str(servers.database.url).rsplit('/', 1)[0]}/{name}"
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await server.close()
