"""A database that has images is brought up to date, and none of them is forgotten."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from gallery.adapters.migrations import migrate

ADD = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated, status, lease_until)
    VALUES ($1, 'maya', $2, 'x.jpg', 'image/jpeg', 1, $2, false, $2, now())
"""


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


async def test_images_from_before_work_stood_beside_the_status(database):
    await asyncio.to_thread(migrate, database, "0005")
    db = await asyncpg.connect(database)
    try:
        for status in ("PENDING", "PROCESSING", "READY", "FAILED"):
            await db.execute(ADD, uuid4(), status)
        await asyncio.to_thread(migrate, database)
        await db.reload_schema_state()
        rows = await db.fetch("SELECT status, work, lane, queue_place FROM image")
        assert {row["status"]: row["work"] for row in rows} == {
            "PENDING": "due",
            "PROCESSING": "taken",
            "READY": None,
            "FAILED": None,
        }
        assert {(row["lane"], row["queue_place"]) for row in rows} == {("interactive", 1)}
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute("UPDATE image SET work = NULL WHERE status = 'PENDING'")
    finally:
        await db.close()
