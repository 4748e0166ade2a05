"""Logs that a person reads on a terminal."""

import logging

import pytest
import structlog

from gallery.ops import logs
from gallery.settings import LogsSettings


@pytest.fixture
def restore_logging():
    """The test's own logging comes back."""
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in logs.QUIET_LOGGERS}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, its in quiet.items():
        logging.getLogger(name).setLevel(its)
    structlog.configure(**before)


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_path_does_not_steer_the_terminal(restore_logging, capsys, format_):
    logs.configure(LogsSettings(format=format_))
    structlog.get_logger("strange").info("request", path="/\x1b[2J\x9b1m\r\n2026 [error] forged\u202e")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "forged" in line
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(line.replace("\x1b[0m", ""))
