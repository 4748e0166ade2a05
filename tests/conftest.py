"""Real servers for everybody, started once: PostgreSQL, Valkey and S3; for each test a house of its own in them."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import pytest

import gallery_processes
from databases import TEMPLATE, application_environment, create_database
from gallery.access.model import OPEN_MODE_CALLER
from gallery.adapters.postgres.migrations import migrate
from gallery.adapters.valkey.client import Valkey
from gallery.cli.sockets import listen
from gallery.embedded.servers import open_servers
from gallery.errors import ValkeyUnavailable
from gallery.processing.service import Processing
from gallery.settings import VARIABLE_NAMES, Settings
from gallery.web.app import make_app
from gallery.web.server import Server
from gallery.wiring import Gallery, open_gallery, open_processing
from s3 import s3_server

CALLER = OPEN_MODE_CALLER
NEEDED_DISK_GB = 15  # GB that a run takes at most, with three processes


def pytest_report_header() -> list[str]:
    """The disk, where it is too small: otherwise servers of the tests answer with errors that do not name it."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 10**9
    if free >= NEEDED_DISK_GB:
        return []
    return [
        (
            f"Only {free:.1f} GB are free in {folder}, and tests may fail for it: they need "
            f"{NEEDED_DISK_GB}. TMPDIR names another."
        )
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each recovery of tests/faults took, which docs/reliability.md tells."""
    for report in terminalreporter.getreports("passed"):
        for name, seconds in report.user_properties:
            if name == "recovery" and report.when == "call":
                terminalreporter.write_line(f"recovered in {seconds:5} s  {report.nodeid.rpartition('::')[2]}")


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> Iterator[None]:
    """What is set where the tests run is not what they test."""
    ours = {name: os.environ.pop(name) for name in list(os.environ) if _is_setting(name)}
    yield
    os.environ.update(ours)


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """PostgreSQL with a migrated template database, and Valkey."""
    folder = tmp_path_factory.mktemp("servers")
    async with open_servers(folder) as running:
        template = await create_database(str(running.database_url), TEMPLATE, template="template0")
        await asyncio.to_thread(migrate, template)
        settings = Settings(data_dir=str(folder))
        replace = msgspec.structs.replace
        yield replace(
            settings,
            database=replace(settings.database, url=running.database_url),
            redis=replace(settings.redis, url=running.redis_url),
        )
    shutil.rmtree(folder)  # gigabytes of databases, of which each failed test tells what it saw


@pytest.fixture(scope="session")
async def s3(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("s3")
    async with s3_server(folder) as environment:
        yield environment
    shutil.rmtree(folder)


@pytest.fixture
async def environment(servers: Settings, tmp_path: Path) -> dict[str, str]:
    return await application_environment(servers, tmp_path)


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return Settings.read(environment)


@pytest.fixture
async def gallery(settings: Settings) -> AsyncIterator[Gallery]:
    """A house of the test's own; nobody works in it unless the test asks for `processing`."""
    async with open_gallery(settings) as house:
        await wait_for_valkey(house.valkey)
        yield house


async def wait_for_valkey(valkey: Valkey) -> None:
    """On a machine that stalls for a second it was away while the house was opened, and would not be asked for two."""
    async with asyncio.timeout(20):
        while True:
            with suppress(ValkeyUnavailable):
                return await valkey.ping()


@pytest.fixture
async def processing(gallery: Gallery) -> AsyncIterator[Processing]:
    async with open_processing(gallery, name="worker") as desk:
        yield desk


@pytest.fixture
async def client(gallery: Gallery) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks HTTP to the house, over a real socket; its feed is running."""
    async with serve_api(gallery) as url, httpx.AsyncClient(base_url=url, timeout=20) as speaker:
        yield speaker


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[gallery_processes.RunningGallery]:
    """`gallery dev` as a user starts it, shared by tests that need only its URL."""
    async with gallery_processes.dev(gallery_processes.base_environment(), tmp_path_factory.mktemp("stack")) as running:
        yield running


@asynccontextmanager
async def serve_api(gallery: Gallery) -> AsyncIterator[str]:
    """The house's API in this process, on a free port; yields its URL."""
    server = Server(make_app(gallery), gallery.settings.serve, gallery.feed.end, gallery.health.start_draining)
    with listen("127.0.0.1", 0) as sock:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            feed = tasks.create_task(gallery.feed.run())
            serving = tasks.create_task(server.serve(sockets=[sock]))
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{sock.getsockname()[1]}"
            finally:
                server.stop()
                await serving
                feed.cancel()


@asynccontextmanager
async def running_application(
    environment: dict[str, str], **more: str
) -> AsyncIterator[tuple[Gallery, httpx.AsyncClient]]:
    """A house with more settings, and who speaks HTTP to it."""
    async with (
        open_gallery(Settings.read({**environment, **more})) as gallery,
        serve_api(gallery) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        yield gallery, client


def _is_setting(name: str) -> bool:
    return name.startswith(("GALLERY_", "S3_", "DD_", "OTEL_", "PG", "AWS_")) or name in VARIABLE_NAMES.values()
