"""Migrates the schema. Imports Alembic, so only a process that migrates pays for that import."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

import gallery
from gallery.errors import CannotStart, DatabaseUnavailable, describe_error

if TYPE_CHECKING:
    from alembic.operations import Operations

MAX_TRIES = 20  # each waits two seconds for a lock, then lets other transactions pass
BACKOFF_SECONDS = 1.0


def main() -> None:
    """`python -m gallery.adapters.postgres.migrations [--slow]`: migrates the database whose URL is on stdin."""
    try:
        migrate(sys.stdin.read(), slow="--slow" in sys.argv)
    except CannotStart as error:
        sys.exit(error.detail)
    except DatabaseUnavailable as error:
        sys.exit(f"PostgreSQL is unavailable: {error.facts['cause']}")


def migrate(database_url: str, target: str = "head", *, slow: bool = False, max_tries: int = MAX_TRIES) -> str:
    """Run the missing migrations under a lock; returns the newest revision. With `slow`, steps have no time limit.

    A step that finds a table in use is tried again. Raises `DatabaseUnavailable`, `CannotStart`.
    """
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    try:
        while not _try_upgrade(engine, target, slow=slow):
            max_tries -= 1
            if not max_tries:
                raise CannotStart(
                    "The schema cannot be changed: a transaction keeps a table in use. Find it in pg_stat_activity, "
                    "end it, and run gallery migrate."
                )
            time.sleep(BACKOFF_SECONDS)
    finally:
        engine.dispose()
    return newest_revision()


def _try_upgrade(engine: Engine, target: str, *, slow: bool) -> bool:
    """False when a step did not get a lock in time; the steps before it are done."""
    config = _config()
    config.attributes["slow"] = slow
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, target)
    except CommandError as error:
        raise CannotStart(f"No migration of this Gallery leads on from the database's schema ({error}).") from error
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        if isinstance(error.orig, QueryCanceled):
            raise CannotStart(
                f"A migration takes too long ({error.orig}): run gallery migrate --slow when the API may wait for it."
            ) from error
        raise DatabaseUnavailable(cause=describe_error(error.orig or error)) from error
    return True


@contextmanager
def outside_transaction(op: "Operations | ModuleType") -> Iterator[None]:
    """For long statements that block no other, such as CREATE INDEX CONCURRENTLY: no transaction, no time limit."""
    limits = ("lock_timeout", "statement_timeout")
    with op.get_context().autocommit_block():
        previous = [op.get_bind().execute(text(f"SHOW {limit}")).scalar() for limit in limits]
        for limit in limits:
            op.execute(f"SET {limit} = 0")
        try:
            yield
        finally:
            for limit, value in zip(limits, previous, strict=True):
                op.execute(f"SET {limit} = '{value}'")


def newest_revision() -> str:
    """The newest revision in the migrations folder."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()))
    return config


def _folder() -> Path:
    package = Path(gallery.__file__).parent
    shipped = package / "migrations"  # in a wheel
    return shipped if shipped.is_dir() else package.parents[1] / "migrations"


if __name__ == "__main__":
    main()
