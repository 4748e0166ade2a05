"""Logs that a person reads on a terminal."""

import logging

import pytest
import structlog

from gallery.ops import logs
from gallery.settings import LogsSettings


@pytest.fixture
def restore_logging():
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


@pytest.mark.parametrize("format_", ["text", "json"])
def test_control_characters_of_a_path_are_escaped(restore_logging, capsys, format_):
    logs.configure(LogsSettings(format=format_))
    structlog.get_logger("test").info("request", path="/\x1b[2J\x9b1m\r\n2026 [error] forged\u202e")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "forged" in line
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(line.replace("\x1b[0m", ""))
