"""How a command comes into the house: its servers found or started, its schema in order."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import msgspec
import structlog

from gallery.adapters.postgres.database import SCHEMA_REVISION, Database, open_database, wait_for_database
from gallery.background import run_in_background
from gallery.errors import CannotStart
from gallery.ops import cpu, dogstatsd, heap
from gallery.settings import Settings

if TYPE_CHECKING:
    from gallery.wiring import Gallery

log = structlog.get_logger(__name__)


@asynccontextmanager
async def settings_with_servers(settings: Settings, *, valkey: bool = True) -> AsyncIterator[Settings]:
    """The settings with the addresses of embedded servers where none are set; started ones end with the block.

    Without `valkey`, for a command that needs PostgreSQL only.
    """
    postgres, valkey = settings.database.url is None, valkey and settings.redis.url is None
    if not (postgres or valkey):
        yield settings
        return
    from gallery.embedded.servers import open_servers  # noqa: PLC0415  production does not need it

    if postgres and not (settings.data_path / "postgres").exists():
        log.warning("data_directory.empty", data_dir=str(settings.data_path), more="GALLERY_DATA_DIR names another one")
    async with open_servers(settings.data_path, postgres=postgres, valkey=valkey) as running:
        yield with_server_urls(settings, running.database_url, running.redis_url)


def with_server_urls(settings: Settings, database_url: str | None, redis_url: str | None) -> Settings:
    """Settings that know where the servers are; what was set stays."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        database=replace(settings.database, url=settings.database.url or database_url),
        redis=replace(settings.redis, url=settings.redis.url or redis_url),
    )


def child_environment(settings: Settings) -> dict[str, str]:
    """Where the servers and the data are, for a child process."""
    urls = {"DATABASE_URL": settings.database.url, "REDIS_URL": settings.redis.url}
    return {"GALLERY_DATA_DIR": str(settings.data_path), **{name: url for name, url in urls.items() if url}}


@asynccontextmanager
async def ready_gallery(settings: Settings) -> "AsyncIterator[Gallery]":
    """The house, when everything it needs is there. Raises `CannotStart`."""
    from gallery.wiring import open_gallery  # noqa: PLC0415  who only supervises does without the house

    async with settings_with_servers(settings) as found:
        await ensure_schema(found)
        async with open_gallery(found) as house:
            yield house


@asynccontextmanager
async def ready_database(settings: Settings) -> AsyncIterator[Database]:
    """PostgreSQL alone, its schema in order, for commands that need no more. Raises `CannotStart`."""
    async with settings_with_servers(settings, valkey=False) as found:
        await ensure_schema(found)
        async with open_database(found.database) as opened:
            yield opened


@asynccontextmanager
async def instrumented_gallery(settings: Settings, service: str) -> "AsyncIterator[Gallery]":
    """The house of a process that stays: it tells the agent and sends traces, where there is somebody to take them."""
    with _tracing(settings, service):
        async with (
            run_in_background(cpu.update_forever(), "cpu"),
            ready_gallery(settings) as house,
            dogstatsd.reporting(settings.datadog, house.readings),
        ):
            yield house


def _tracing(settings: Settings, service: str) -> AbstractContextManager[None]:
    """Sends traces where the settings say, as `service` unless they name it."""
    where = settings.tracing
    if where.url is None or where.disabled:
        return nullcontext()
    from gallery.ops import otlp  # noqa: PLC0415  the SDK is loaded only for those that want traces

    return otlp.exporting(where.url, where.service_name or service)


async def ensure_schema(settings: Settings) -> None:
    """Wait for PostgreSQL, and migrate it if it is behind and we may. Raises `CannotStart`."""
    revision = await check_revision(settings)
    if revision == SCHEMA_REVISION:
        return
    if not settings.database.migrate:
        raise CannotStart(
            f"The database is at schema {revision}, this Gallery needs {SCHEMA_REVISION}: run gallery migrate."
        )
    await migrate_in_subprocess(direct_url(settings))


def direct_url(settings: Settings) -> str:
    """For what outlives a transaction: migrations and dumps. Raises `CannotStart`."""
    database = settings.database
    if database.pgbouncer and not database.direct_url:
        raise CannotStart("This cannot go through PgBouncer: set GALLERY_DATABASE__DIRECT_URL to PostgreSQL itself.")
    return str(database.direct_url or database.url)


async def check_revision(settings: Settings) -> str | None:
    """The revision of the schema, when PostgreSQL answers. Raises `CannotStart` for one that is newer than we are."""
    revision = await wait_for_database(settings.database)
    if revision is not None and revision > SCHEMA_REVISION:
        raise CannotStart(
            f"The database is at schema {revision}, newer than this Gallery's {SCHEMA_REVISION}: upgrade Gallery."
        )
    return revision


async def migrate_in_subprocess(database_url: str, *, slow: bool = False) -> None:
    """In a process of its own, so that this one does not carry Alembic in its memory. Raises `CannotStart`."""
    code = (
        "import sys\n"
        "from gallery.adapters.postgres.migrations import migrate\n"
        "from gallery.errors import CannotStart\n"
        "try:\n"
        f"    migrate(sys.stdin.read(), slow={slow})\n"
        "except CannotStart as error:\n"
        "    sys.exit(error.detail)\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await child.communicate(database_url.encode())  # not on the command line: it holds a password
    if child.returncode:
        raise CannotStart(f"The database could not be migrated: {errors.decode().strip().rpartition(chr(10))[2]}")
    log.info("database.migrated", schema=SCHEMA_REVISION)


@asynccontextmanager
async def stop_on_signals(stop: Callable[[], None]) -> AsyncIterator[None]:
    """SIGTERM and SIGINT call `stop` while the block runs; SIGUSR1 has the heap told."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(heap.SIGNAL, heap.handle_signal)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, heap.SIGNAL):
            loop.remove_signal_handler(number)
