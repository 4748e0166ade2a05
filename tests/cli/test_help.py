"""The help texts of `gallery`, and the commands without servers."""

import json
import re

import pytest
import typer.main

from credentials import run_command
from gallery import __version__
from gallery.cli.app import app
from gallery_processes import base_environment

ENVIRONMENT = {**base_environment(), "COLUMNS": "80"}


def commands(group, *path):
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


async def test_version_is_an_option_and_a_command():
    for word in ("--version", "version"):
        assert await run_command(ENVIRONMENT, word) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_summary_is_one_short_sentence(path):
    first = re.split(r"(?<=[.:])\s", (COMMANDS[path].help or "").strip())[0]
    assert 0 < len(first) <= 60


@pytest.mark.parametrize("group", [(), ("keys",), ("backup",)], ids=" ".join)
async def test_no_summary_is_cut_off_on_a_terminal_of_eighty_columns(group):
    code, output, _ = await run_command(ENVIRONMENT, *group, "--help")
    assert code == 0
    listed = output.partition("Commands:\n")[2].splitlines()
    assert len(listed) >= 2
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


async def test_a_command_in_an_empty_data_directory_names_it(tmp_path):
    environment = {**ENVIRONMENT, "GALLERY_DATA_DIR": str(tmp_path / "data")}
    code, _, errors = await run_command(environment, "migrate")
    (line,) = [json.loads(line) for line in errors.splitlines() if "data_directory.empty" in line]
    assert (code, line["data_dir"]) == (0, str(tmp_path / "data"))
    assert "GALLERY_DATA_DIR" in line["more"]
    assert "data_directory.empty" not in (await run_command(environment, "migrate"))[2]


async def test_config_shows_only_changed_settings(tmp_path):
    environment = {**ENVIRONMENT, "PORT": "4321", "GALLERY_DATA_DIR": str(tmp_path)}
    code, output, _ = await run_command(environment, "config", "--changed", "--json")
    *lines, summary = [json.loads(line) for line in output.splitlines()]
    assert summary == {"settings": len(lines)}
    assert (code, {line["name"]: line["value"] for line in lines}["PORT"]) == (0, 4321)
    assert {line["name"] for line in lines} <= {*environment}


@pytest.mark.parametrize("words", [("config",), ("doctor",), ("serve",)])
async def test_an_invalid_preset_is_refused_with_the_same_sentence(tmp_path, words):
    environment = {**ENVIRONMENT, "GALLERY_DATA_DIR": str(tmp_path), "GALLERY_PRESETS__AVATAR": "w=0"}
    code, output, errors = await run_command(environment, *words)
    assert code != 0
    assert "GALLERY_PRESETS__AVATAR='w=0': w is not a whole number from 1 to 8192." in " ".join(
        (output + errors).split()
    )
