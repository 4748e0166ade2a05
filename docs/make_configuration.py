"""Writes docs/configuration.md from the settings themselves: `python docs/make_configuration.py`."""  # noqa: INP001

from itertools import groupby
from pathlib import Path

from gallery.settings import SECRETS, Setting, all_settings

PAGE = Path(__file__).with_name("configuration.md")

HEADER = """\
<!-- Written by docs/make_configuration.py; change the settings in src/gallery/settings instead. -->

# Settings

Every setting is an environment variable, read once at start. `gallery config` prints what is in force, with secrets
masked. An empty variable counts as not set, a switch is `true` or `false`, and a value that does not fit ends
the command with a sentence that names it. An unknown `GALLERY_…` variable is a warning in the log, with the nearest
real name. `GALLERY_URL`, `GALLERY_TOKEN` and `GALLERY_LINK_KEY` are for the
[commands of the client](app/python.md#the-command).

Secrets (🔑) are never printed.
"""
SECTION_TITLES = {
    "": "The process",
    "database": "PostgreSQL",
    "redis": "Valkey or Redis",
    "objects": "Objects",
    "s3": "Objects in S3",
    "upload": "Uploads",
    "renditions": "Renditions",
    "pictures": "Pictures on demand",
    "presets": "Presets of pictures on demand",
    "worker": "Workers",
    "autoscale": "How many workers to ask for",
    "serve": "The API",
    "rate": "Limits",
    "cache": "The cache",
    "notifications": "Notifications",
    "access": "Access",
    "backup": "Backups",
    "logs": "Logs",
    "datadog": "Datadog",
    "tracing": "Traces",
}


def page() -> str:
    """The whole page as it should be."""
    return "\n".join([HEADER, *(_section(room, list(group)) for room, group in groupby(all_settings(), key=_branch))])


def _branch(entry: Setting) -> str:
    return entry.branch


def _section(branch: str, found: list[Setting]) -> str:
    rows = [f"| {_name(entry)} | {_default(entry.default)} | {_cell(entry.description)} |" for entry in found]
    return "\n".join(
        [
            f"## {SECTION_TITLES.get(branch, branch.capitalize())}",
            "",
            "| variable | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _name(entry: Setting) -> str:
    return f"`{entry.variable}`" + (" 🔑" if entry.path in SECRETS else "")


def _default(value: object) -> str:
    if value is None or value == "":
        return "not set"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
