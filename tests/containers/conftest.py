"""Containers that really run. Not part of `make test`: `make container-test` sets CONTAINERS, and needs root."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from containers.build_image import build
from containers.engine import Engine, open_engine
from containers.stand_ins import make_stand_ins, pulls_images

collect_ignore_glob = [] if "CONTAINERS" in os.environ else ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
async def engine() -> AsyncIterator[Engine]:
    engine = open_engine()
    await engine.remove_everything()  # left by an interrupted run
    if not pulls_images():
        await make_stand_ins(engine)
    yield engine
    await engine.remove_everything()


@pytest.fixture(scope="session")
async def image(engine: Engine) -> str:
    """The image of the Dockerfile, built."""
    return await build(engine)
