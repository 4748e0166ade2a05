"""The startup of a command: finds or starts its servers, checks the schema, opens the application."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import msgspec
import structlog

from gallery.adapters.postgres.database import (
    SCHEMA_REVISION,
    Database,
    check_schema,
    open_database,
    wait_for_database,
)
from gallery.background import run_in_background
from gallery.errors import CannotStart
from gallery.ops import cpu, dogstatsd, heap
from gallery.settings import Settings

if TYPE_CHECKING:
    from gallery.wiring import Gallery

log = structlog.get_logger(__name__)


@asynccontextmanager
async def settings_with_servers(settings: Settings, *, valkey: bool = True) -> AsyncIterator[Settings]:
    """The settings with the addresses of embedded servers where none are set; servers started here end with the block.

    `valkey` is False for a command that needs only PostgreSQL.
    """
    postgres, valkey = settings.database.url is None, valkey and settings.redis.url is None
    if not (postgres or valkey):
        yield settings
        return
    from gallery.embedded.servers import open_servers  # noqa: PLC0415  production does not need it

    if postgres and not (settings.data_path / "postgres").exists():
        log.warning(
            "data_directory.empty", data_dir=str(settings.data_path), more="set GALLERY_DATA_DIR to use another one"
        )
    async with open_servers(settings.data_path, postgres=postgres, valkey=valkey) as running:
        yield with_server_urls(settings, running.database_url, running.redis_url)


def with_server_urls(settings: Settings, database_url: str | None, redis_url: str | None) -> Settings:
    """The settings with these addresses where none are set."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        database=replace(settings.database, url=settings.database.url or database_url),
        redis=replace(settings.redis, url=settings.redis.url or redis_url),
    )


def child_environment(settings: Settings) -> dict[str, str]:
    """The variables that name the servers and the data directory, for a child process."""
    urls = {"DATABASE_URL": settings.database.url, "REDIS_URL": settings.redis.url}
    return {"GALLERY_DATA_DIR": str(settings.data_path), **{name: url for name, url in urls.items() if url}}


@asynccontextmanager
async def ready_gallery(settings: Settings) -> "AsyncIterator[Gallery]":
    """The application, when its servers answer and its schema is up to date. Raises `CannotStart`."""
    from gallery.wiring import open_gallery  # noqa: PLC0415  a supervisor does not need it

    async with settings_with_servers(settings) as found:
        await ensure_schema(found)
        async with open_gallery(found) as gallery:
            yield gallery


@asynccontextmanager
async def ready_database(settings: Settings) -> AsyncIterator[Database]:
    """The database with an up-to-date schema, for commands that need only PostgreSQL. Raises `CannotStart`."""
    async with settings_with_servers(settings, valkey=False) as found:
        await ensure_schema(found)
        async with open_database(found.database) as database:
            yield database


@asynccontextmanager
async def instrumented_gallery(settings: Settings, service: str) -> "AsyncIterator[Gallery]":
    """The application for a long-running process, with DogStatsD metrics and traces if their address is set."""
    with _tracing(settings, service):
        async with (
            run_in_background(cpu.update_forever(), "cpu"),
            ready_gallery(settings) as gallery,
            dogstatsd.reporting(settings.datadog, gallery.readings),
        ):
            yield gallery


def _tracing(settings: Settings, service: str) -> AbstractContextManager[None]:
    """Exports traces to the address in the settings, as `service` unless they set a name."""
    tracing = settings.tracing
    if tracing.url is None or tracing.disabled:
        return nullcontext()
    from gallery.ops import otlp  # noqa: PLC0415  the SDK is loaded only if it is used

    return otlp.exporting(tracing.url, tracing.service_name or service)


async def ensure_schema(settings: Settings) -> None:
    """Waits for PostgreSQL, and migrates an old schema if the settings permit it. Raises `CannotStart`."""
    revision = await check_revision(settings)
    if revision == SCHEMA_REVISION:
        return
    if not settings.database.migrate:
        raise CannotStart(
            f"The database is at schema {revision}, this Gallery needs {SCHEMA_REVISION}: run gallery migrate."
        )
    await migrate_in_subprocess(direct_url(settings))


def direct_url(settings: Settings) -> str:
    """The URL without PgBouncer, for migrations and dumps. Raises `CannotStart`."""
    database = settings.database
    if database.pgbouncer and not database.direct_url:
        raise CannotStart("This command cannot use PgBouncer: set GALLERY_DATABASE__DIRECT_URL to PostgreSQL itself.")
    return str(database.direct_url or database.url)


async def check_revision(settings: Settings) -> str | None:
    """Waits for PostgreSQL and returns its schema's revision. Raises `CannotStart` for one it cannot migrate."""
    revision = await wait_for_database(settings.database)
    if revision is not None:
        check_schema("The database", revision)
    return revision


async def migrate_in_subprocess(database_url: str, *, slow: bool = False) -> None:
    """Migrates in a child process, so that this one never loads Alembic. Raises `CannotStart`."""
    command = (sys.executable, "-m", "gallery.adapters.postgres.migrations", *(("--slow",) if slow else ()))
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await child.communicate(database_url.encode())  # not on the command line: it holds a password
    if child.returncode:
        raise CannotStart(f"The database could not be migrated: {errors.decode().strip().rpartition(chr(10))[2]}")
    log.info("database.migrated", schema=SCHEMA_REVISION)


@asynccontextmanager
async def stop_on_signals(stop: Callable[[], None]) -> AsyncIterator[None]:
    """While the block runs, SIGTERM and SIGINT call `stop`, and SIGUSR1 writes a heap report."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(heap.SIGNAL, heap.handle_signal)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, heap.SIGNAL):
            loop.remove_signal_handler(number)
