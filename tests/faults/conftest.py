"""A city for each fault: servers of its own behind cables of our own, and processes that the fault may end."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.asyncio as redis

from databases import TEMPLATE, database_of
from faults.city import City, opened
from faults.engines import Engines, engines
from faults.forms import FORMS, Form
from gallery.adapters.postgres.migrations import migrate
from processes import free_port, surroundings

FORM = os.environ.get("FAULTS", "short")
PATIENCE = {"short": 300, "long": 3600}  # seconds for one test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(PATIENCE[FORM]))


@pytest.fixture(scope="session")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engines]:
    """PostgreSQL with a migrated template, Valkey and S3, which the tests of this folder may kill."""
    async with engines(tmp_path_factory.mktemp("engines")) as started:
        await asyncio.to_thread(migrate, await database_of(started.database_url, TEMPLATE, of="template0"))
        yield started


@pytest.fixture
def form() -> Form:
    """How long a fault lasts and how often it comes: `FAULTS=long` is the long run."""
    return FORMS[FORM]


@pytest.fixture
async def city(
    behind: Engines, form: Form, tmp_path: Path, record_property: Callable[[str, object], None]
) -> AsyncIterator[City]:
    for engine in behind.all:
        await engine.start()
    name = f"faults_{os.urandom(4).hex()}"
    async with redis.from_url(behind.redis_url) as valkey:
        await valkey.flushall()
        await valkey.config_set("maxmemory", 0)
    environment = {
        **surroundings(),
        **behind.s3,
        "DATABASE_URL": await database_of(behind.database_url, name, of=TEMPLATE),
        "REDIS_URL": behind.redis_url,
        "S3_BUCKET": name.replace("_", "-"),
        "GALLERY_DATA_DIR": str(tmp_path / "data"),
        "GALLERY_S3__TIMEOUT": "3",
        "GALLERY_DATABASE__TIMEOUT": "3",
        "GALLERY_WORKER__LEASE": "4",
        "GALLERY_WORKER__SWEEP_EVERY": "1",
        "GALLERY_WORKER__CONCURRENCY": "1",
        "GALLERY_RATE__ENABLED": "false",
        "GALLERY_UPLOAD__KEY_LEASE": "2",
        "PORT": str(free_port()),
    }
    async with opened(environment, behind, form, tmp_path / "logs", record_property) as here:
        yield here
