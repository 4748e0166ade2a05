"""The commands of the client, `gallery upload` for example: those of `gallery-client`, with the same options."""

from typing import Any

import typer
from typer.core import TyperCommand

CLIENT_COMMANDS = {
    "upload": "Send files and folders that are not there yet.",
    "list": "List the images of a Gallery, newest first.",
    "show": "Print all facts of images.",
    "export": "Fetch the originals, each with a JSON file beside it.",
    "delete": "Delete images.",
    "sign": "Sign the URL of a picture by a link key, without a call.",
}


class ClientCommand(TyperCommand):
    """Leaves its whole command line to the client, `--help` and `--` too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = args
        return args


def add_client_commands(app: typer.Typer) -> None:
    for name, summary in CLIENT_COMMANDS.items():
        app.command(name, cls=ClientCommand, help=summary)(_run)


def _run(context: typer.Context) -> None:
    from gallery_client.cli.main import main  # noqa: PLC0415  other commands do not need the client

    raise typer.Exit(main([str(context.info_name), *context.args], program="gallery"))
