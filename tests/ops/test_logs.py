"""Logs that a person reads on a terminal."""

import pytest
import structlog

from gallery.ops import logs
from gallery.settings import LogsSettings


@pytest.mark.parametrize("format_", ["text", "json"])
def test_control_characters_of_a_path_are_escaped(restore_logging, capsys, format_):
    logs.configure(LogsSettings(format=format_))
    structlog.get_logger("test").info("request", path="/\x1b[2J\x9b1m\r\n2026 [error] forged\u202e")
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "forged" in line
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(line.replace("\x1b[0m", ""))
