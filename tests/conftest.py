"""Fixtures: PostgreSQL, Valkey and S3, started once for all tests, and a separate application for each test."""

import asyncio
import gc
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import pytest
import structlog

import gallery_processes
from databases import TEMPLATE, application_environment, create_database, drop_database, server_folder, stop_syncing
from gallery.access.model import OPEN_MODE_CALLER
from gallery.adapters.postgres.migrations import migrate
from gallery.adapters.valkey.client import Valkey
from gallery.cli.sockets import listen
from gallery.embedded.servers import open_servers
from gallery.errors import ValkeyUnavailable
from gallery.ops import logs, request_log
from gallery.processing.service import Processing
from gallery.settings import VARIABLE_NAMES, Settings
from gallery.web.app import make_app
from gallery.web.server import Server
from gallery.wiring import Gallery, open_gallery, open_processing
from http_clients import TLS_CONTEXT
from s3 import s3_server

CALLER = OPEN_MODE_CALLER
NEEDED_DISK_GB = 8  # GB that a run takes at most, with four processes


def pytest_report_header() -> list[str]:
    """Warns about a disk that is too small: the errors of the tests' servers do not always name it."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free / 10**9
    if free >= NEEDED_DISK_GB:
        return []
    return [
        (
            f"Only {free:.1f} GB are free in {folder}; the tests need {NEEDED_DISK_GB} GB and may fail. "
            f"Set TMPDIR to another directory."
        )
    ]


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from the thousands of tests and all modules, which it would search time and again."""
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how long each recovery of tests/faults took, for docs/reliability.md."""
    for report in terminalreporter.getreports("passed"):
        for name, seconds in report.user_properties:
            if name == "recovery" and report.when == "call":
                terminalreporter.write_line(f"recovered in {seconds:5} s  {report.nodeid.rpartition('::')[2]}")


@pytest.fixture(autouse=True, scope="session")
def clean_environment() -> Iterator[None]:
    """Removes the settings of the developer's shell, which are not under test."""
    removed = {name: os.environ.pop(name) for name in list(os.environ) if _is_setting(name)}
    yield
    os.environ.update(removed)


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Settings]:
    """PostgreSQL with a migrated template database, and Valkey."""
    with server_folder() as folder:
        async with open_servers(folder) as running:
            await stop_syncing(str(running.database_url))
            template = await create_database(str(running.database_url), TEMPLATE, template="template0")
            await asyncio.to_thread(migrate, template)
            settings = Settings(data_dir=str(folder))
            replace = msgspec.structs.replace
            yield replace(
                settings,
                database=replace(settings.database, url=running.database_url),
                redis=replace(settings.redis, url=running.redis_url),
            )


@pytest.fixture(scope="session")
async def s3(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("s3")
    async with s3_server(folder) as environment:
        yield environment
    shutil.rmtree(folder)


@pytest.fixture
async def environment(servers: Settings, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    environment = await application_environment(servers, tmp_path)
    yield environment
    await drop_database(str(servers.database.url), environment["DATABASE_URL"])


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return Settings.read(environment)


@pytest.fixture
async def gallery(settings: Settings) -> AsyncIterator[Gallery]:
    """The test's own application; it has no worker unless the test uses `processing`."""
    async with open_gallery(settings) as gallery:
        await wait_for_valkey(gallery.valkey)
        yield gallery


async def wait_for_valkey(valkey: Valkey) -> None:
    """On a machine that stalls for a second, Valkey may be unavailable at startup, and then is not tried for two."""
    async with asyncio.timeout(20):
        while True:
            with suppress(ValkeyUnavailable):
                return await valkey.ping()


async def wait_until_caught_up(gallery: Gallery) -> None:
    """Until the feed has read all events: only then responses and rows are kept in memory."""
    async with asyncio.timeout(10):
        while not gallery.change_tokens.caught_up:
            await asyncio.sleep(0.02)


@pytest.fixture
async def processing(gallery: Gallery) -> AsyncIterator[Processing]:
    async with open_processing(gallery, name="worker") as processing:
        yield processing


@pytest.fixture
async def client(gallery: Gallery) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the application, over a real socket; the feed is running."""
    async with serve_api(gallery) as url, httpx.AsyncClient(base_url=url, timeout=20, verify=TLS_CONTEXT) as client:
        yield client


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[gallery_processes.RunningGallery]:
    """`gallery dev` as a user starts it, shared by tests that need only its URL."""
    async with gallery_processes.dev(gallery_processes.base_environment(), tmp_path_factory.mktemp("stack")) as running:
        yield running


@asynccontextmanager
async def serve_api(gallery: Gallery) -> AsyncIterator[str]:
    """Serves the application's API in this process, on a free port; yields its URL."""
    app = make_app(gallery)
    server = Server(
        app.asgi, gallery.settings.serve, gallery.feed.end, gallery.health.start_draining, repeater=app.repeater
    )
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
    """An application with more settings, and an HTTP client of it."""
    async with (
        open_gallery(Settings.read({**environment, **more})) as gallery,
        serve_api(gallery) as url,
        httpx.AsyncClient(base_url=url, timeout=20, verify=TLS_CONTEXT) as client,
    ):
        yield gallery, client


def _is_setting(name: str) -> bool:
    return name.startswith(("GALLERY_", "S3_", "DD_", "OTEL_", "PG", "AWS_")) or name in VARIABLE_NAMES.values()


@pytest.fixture
def restore_logging() -> Iterator[None]:
    """Restores the logging of the test run."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in logs.QUIET_LOGGERS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, previous in quiet.items():
        logging.getLogger(name).setLevel(previous)
    structlog.configure(**before)
    request_log.use(None)
