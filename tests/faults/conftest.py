"""A deployment for each fault: servers behind proxies that can fail, and processes that the fault may end."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.asyncio as redis

from databases import TEMPLATE, create_database
from faults.backends import Backends, start_backends
from faults.deployment import Deployment, open_deployment
from faults.intensity import INTENSITIES, Intensity
from gallery.adapters.postgres.migrations import migrate
from gallery_processes import base_environment, free_port

INTENSITY = os.environ.get("FAULTS", "short")
TEST_TIMEOUT_SECONDS = {"short": 300, "long": 3600}  # per test


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_SECONDS[INTENSITY]))


@pytest.fixture(scope="session")
async def backends(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Backends]:
    """PostgreSQL with a migrated template, Valkey and S3, which the tests of this folder may kill."""
    async with start_backends(tmp_path_factory.mktemp("backends")) as started:
        await asyncio.to_thread(migrate, await create_database(started.database_url, TEMPLATE, template="template0"))
        yield started


@pytest.fixture
def intensity() -> Intensity:
    """The duration and frequency of faults: `FAULTS=long` is the long run."""
    return INTENSITIES[INTENSITY]


@pytest.fixture
async def deployment(
    backends: Backends, intensity: Intensity, tmp_path: Path, record_property: Callable[[str, object], None]
) -> AsyncIterator[Deployment]:
    for backend in backends.all:
        await backend.start()
    name = f"faults_{os.urandom(4).hex()}"
    async with redis.from_url(backends.redis_url) as valkey:
        await valkey.flushall()
        await valkey.config_set("maxmemory", 0)
    environment = {
        **base_environment(),
        **backends.s3,
        "DATABASE_URL": await create_database(backends.database_url, name, template=TEMPLATE),
        "REDIS_URL": backends.redis_url,
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
    async with open_deployment(environment, backends, intensity, tmp_path / "logs", record_property) as opened:
        yield opened
