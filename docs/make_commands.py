"""Writes docs/reference/cli.md from the commands themselves: `python docs/make_commands.py`."""  # noqa: INP001

import argparse
from collections.abc import Iterator
from datetime import datetime
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer

from gallery.cli.app import app
from gallery.cli.client_commands import ClientCommand
from gallery_client.cli.parser import command_parsers

PAGE = Path(__file__).with_name("reference") / "cli.md"

WORDS = {str: "TEXT", int: "NUMBER", float: "NUMBER", datetime: "TIME"}

CLIENT_PARSERS = command_parsers(argparse.ArgumentParser("gallery"))

HEAD = """\
<!-- Written by docs/make_commands.py; change src/gallery/cli/app.py instead. -->

# Commands

`gallery` lies in `.venv/bin` after `make run`. Every command reads the [settings](../configuration.md) from its
environment, and `gallery COMMAND --help` prints the same texts. Beside a running `gallery dev` with the same data
directory, a command uses its servers.

`upload`, `list`, `show`, `export`, `delete` and `sign` are clients of any Gallery: they read none of its settings, and
reach it by its URL. [gallery-client](../app/python.md#the-command) has the same commands without the server.

Output goes to stdout and logs go to stderr. With `--json` a command prints one JSON object a line, and the last line is
a summary.

| exit code | means |
|---|---|
| 0 | done, and nothing is wrong |
| 1 | a server is unavailable, or the command has found a fault; of a client: some files or images were refused |
| 2 | a setting, the command line or the machine does not fit; for `gallery doctor`: a check could not be made |
| 3 | of a client: Gallery was not reached |
| 130, 143 | ended by Ctrl-C, by SIGTERM |

| command | does |
|---|---|
"""


def page() -> str:
    """The whole page as it should be."""
    commands = list(_commands(typer.main.get_command(app), "gallery"))
    index = (f"| [`{name}`](#{name.replace(' ', '-')}) | {_first(command)} |\n" for name, command in commands)
    return HEAD + "".join(index) + "".join(_section(name, command) for name, command in commands)


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The commands below this one, each with its full name."""
    for word, inner in getattr(command, "commands", {}).items():
        if inner.hidden:
            continue
        if hasattr(inner, "commands"):
            yield from _commands(inner, f"{name} {word}")
        else:
            yield f"{name} {word}", inner


def _first(command: Any) -> str:
    return str(command.get_short_help_str(limit=200)).rstrip(".")


def _section(name: str, command: Any) -> str:
    if isinstance(command, ClientCommand):
        return _client_section(name, CLIENT_PARSERS[name.removeprefix("gallery ")])
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    usage = " ".join([name, *(_usage(p) for p in shown if p.param_type_name == "argument"), "[OPTIONS]"])
    rows = "".join(f"| `{_name(p)}` | {_meaning(p)} | {_default(p)} |\n" for p in shown)
    table = f"\n| | is | default |\n|---|---|---|\n{rows}" if rows else ""
    return f"\n## {name}\n\n```text\n{usage if rows else name}\n```\n\n{cleandoc(command.help or '')}\n{table}"


def _client_section(name: str, parser: argparse.ArgumentParser) -> str:
    shown = [action for action in parser._actions if action.dest != "help"]  # noqa: SLF001  there is no other way
    shown.sort(key=lambda action: bool(action.option_strings))
    arguments = [_client_name(action) for action in shown if not action.option_strings]
    rows = "".join(
        f"| `{_cell(_client_name(action))}` | {action.help} | {_client_default(action)} |\n" for action in shown
    )
    usage = " ".join([name, *arguments, "[OPTIONS]"])
    table = f"\n| | is | default |\n|---|---|---|\n{rows}"
    return f"\n## {name}\n\n```text\n{usage}\n```\n\n{parser.description}\n{table}"


def _client_name(action: argparse.Action) -> str:
    value = action.metavar or "|".join(map(str, action.choices or ()))
    if action.option_strings:
        return f"{action.option_strings[-1]} {value}".strip()
    return {"+": f"{value}…", "?": f"[{value}]"}.get(str(action.nargs), str(value))


def _client_default(action: argparse.Action) -> str:
    if action.required and action.option_strings:
        return "required"
    return f"`{action.default}`" if action.default and not action.required else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _usage(argument: Any) -> str:
    word = argument.metavar or argument.name.upper()
    return word if argument.required else f"[{word}]"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.is_flag:
        return names
    return f"{names} {parameter.metavar or WORDS.get(parameter.type_descriptor.annotation, 'VALUE')}"


def _meaning(parameter: Any) -> str:
    words = (parameter.help or "").replace("|", "\\|")
    if parameter.param_type_name == "argument":
        return words
    return f"{words}; repeatable" if parameter.multiple and "repeatable" not in words else words


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    return "" if default is None or default is False or default in ("", (), []) else f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(page())
