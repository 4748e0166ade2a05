"""Runs a command: reads the settings, configures the log, prints failures as sentences, and ends on a signal.

Exit codes: 0 done; 1 a server is unavailable or the command failed; 2 a setting or the machine does not fit; 130 and
143 ended by Ctrl-C and by SIGTERM before there was anything to shut down.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeAlias

import structlog
import typer
import uvloop

from gallery import failpoints
from gallery.errors import Conflict, Misconfigured, NotFound, Unavailable
from gallery.local_disk import permissions
from gallery.ops import logs
from gallery.settings import Settings, find_unknown_variables

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM

CommandFunction: TypeAlias = Callable[[Settings], Coroutine[Any, Any, int | None]]


def read_settings(**given: object) -> Settings:
    """The settings of the environment, overridden by the command line's."""
    overrides = {name: str(value) for name, value in given.items() if value is not None}
    try:
        return Settings.read({**os.environ, **overrides})
    except Misconfigured as error:
        _exit_with(error.detail)


def export_settings(**given: object) -> Settings:
    """The same, and sets the command line's values for child processes too."""
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    return read_settings()


def run(command: CommandFunction, process_name: str, settings: Settings | None = None) -> NoReturn:
    """Runs the command, under this process name in the log, and exits with its code."""
    os.umask(permissions.OTHERS_PERMISSIONS)  # other users cannot read what this process and its children write
    settings = settings or read_settings()
    if settings.database.url is None:
        _clear_postgres_variables()
    logs.configure(settings.logs, process=process_name)
    if process_name != "doctor":  # which has a check for it
        _warn_of_unknown_settings()
    if settings.fault:
        failpoints.arm(settings.fault)
        structlog.get_logger(__name__).warning("fault.armed", place=settings.fault)
    try:
        code = uvloop.run(_run_until_terminated(command(settings)))
    except Misconfigured as error:
        _exit_with(error.detail)
    except (Unavailable, Conflict, NotFound) as error:
        _exit_with(f"{error.sentence()} ({error})", code=1)
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001  a bug: its stack goes through the log, which masks secrets in URLs
        structlog.get_logger(__name__).critical("command.failed", exc_info=error)
        code = 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    raise typer.Exit(code)


async def _run_until_terminated(work: Coroutine[Any, Any, int | None]) -> int:
    """SIGTERM cancels the command, as Ctrl-C does, unless it handles the signal itself.

    The kernel does not deliver unhandled signals to a container's first process: one that waits for its servers would
    be killed only after the whole grace period.
    """
    terminated = False
    working = asyncio.ensure_future(work)

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        working.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await working or 0
    except asyncio.CancelledError:
        if not terminated:
            raise
        return TERMINATED


def _clear_postgres_variables() -> None:
    """Removes `PGTARGETSESSIONATTRS`, `PGOPTIONS` and the like: they are meant for other servers.

    The embedded PostgreSQL is reached only by its URL, by this process and by its children.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _warn_of_unknown_settings() -> None:
    for name, nearest in find_unknown_variables(os.environ).items():
        structlog.get_logger(__name__).warning("settings.unknown", name=name, nearest=nearest)


def _exit_with(sentence: str, code: int = 2) -> NoReturn:
    print(f"gallery: {sentence}", file=sys.stderr)  # noqa: T201  for the person at the terminal
    raise typer.Exit(code)
