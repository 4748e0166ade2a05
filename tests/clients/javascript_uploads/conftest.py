"""A Gallery with a worker that takes large files."""

from collections.abc import AsyncIterator

import pytest

import gallery_processes

LIMIT = 64 * 1024 * 1024  # bytes of a file


@pytest.fixture(scope="session")
async def large_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[gallery_processes.RunningGallery]:
    environment = gallery_processes.base_environment()
    limits = {"GALLERY_UPLOAD__MAX_BYTES": str(LIMIT)}
    async with gallery_processes.dev(environment, tmp_path_factory.mktemp("large"), **limits) as running:
        yield running
