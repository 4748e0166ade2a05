"""Brings the schema up to date. Imports Alembic, so only a process that migrates pays for it."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import OperationalError

import gallery
from gallery.errors import DatabaseAway


def migrate(database_url: str, to: str = "head") -> str:
    """Run what is missing, under a lock; returns the newest revision. Raises `DatabaseAway`."""
    config = _config()
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, to)
    except OperationalError as error:
        raise DatabaseAway(cause=repr(error.orig)) from error
    finally:
        engine.dispose()
    return newest()


def newest() -> str:
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
