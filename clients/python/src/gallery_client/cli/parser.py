"""The command line of `gallery-client`, and of the same commands of `gallery`."""

import argparse
import os
from collections.abc import Sequence

from gallery_client import __version__

URL = "http://127.0.0.1:3000"


def parse(arguments: Sequence[str] | None, program: str) -> argparse.Namespace:
    """With what the environment says where the command line is silent. Exits with 2 for a wrong command line."""
    whole = parser(program)
    options = whole.parse_args(arguments)
    options.url = options.url or os.environ.get("GALLERY_URL") or URL
    options.token = options.token or os.environ.get("GALLERY_TOKEN") or None
    if options.command == "sign":
        options.key = options.key or os.environ.get("GALLERY_LINK_KEY")
        if not options.key:
            whole.error("sign needs a link key: --key or GALLERY_LINK_KEY")
    return options


def parser(program: str) -> argparse.ArgumentParser:
    """Of all commands. `program` is the name in its texts."""
    whole = argparse.ArgumentParser(
        program, description="Upload, list, show, export, delete and sign, with any Gallery.", allow_abbrev=False
    )
    whole.add_argument("--version", action="version", version=__version__)
    command_parsers(whole)
    return whole


def command_parsers(whole: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Adds those of each command to the parser; by their names."""
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_upload(_command(commands, "upload", "Send files and folders that are not there yet."))
    listing = _command(commands, "list", "List the images of a Gallery, newest first.")
    _add_filter(listing)
    listing.add_argument("--limit", type=_number, metavar="N", help="At most so many")
    show = _command(commands, "show", "Print all facts of images.")
    show.add_argument("images", nargs="+", metavar="ID", help="Of an image")
    export = _command(commands, "export", "Fetch the originals, each with a JSON file beside it.")
    export.add_argument("folder", metavar="DIR", help="Where the files go; those that are there are not fetched")
    _add_filter(export)
    delete = _command(commands, "delete", "Delete images.")
    delete.add_argument("images", nargs="+", metavar="ID", help="Of an image")
    _add_sign(_command(commands, "sign", "Sign the URL of a picture by a link key, without a call."))
    return dict(commands.choices)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
    parser.add_argument("--url", metavar="URL", help=f"Where Gallery is (GALLERY_URL; {URL})")
    parser.add_argument("--token", metavar="TOKEN", help="An API key or a JWT; better in GALLERY_TOKEN")
    parser.add_argument("--json", action="store_true", help="Print JSON lines; the last one is a summary")
    return parser


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--search", metavar="TEXT", help="Images with all of these words")
    parser.add_argument("--tag", metavar="TAG", action="append", help="Images with this tag; repeatable")
    parser.add_argument("--status", choices=["PENDING", "PROCESSING", "READY", "FAILED"], help="Images in this state")


def _add_upload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="A file, a folder, a glob or a ZIP archive")
    parser.add_argument("--wait", action="store_true", help="Wait for each image until it is READY")
    parser.add_argument("--tag", metavar="TAG", action="append", help="For all images that are sent; repeatable")
    parser.add_argument("--title-from", choices=["name"], default="name", help="The title is the file's name")
    parser.add_argument("--dry-run", action="store_true", help="Only print which files would be sent")
    parser.add_argument("--watch", action="store_true", help="Go on with files that are new or changed, until Ctrl-C")
    parser.add_argument("--delete", action="store_true", help="Delete each file once the same bytes are stored")
    parser.add_argument(
        "--on-errors",
        type=_on_errors,
        default="continue",
        metavar="stop|continue|N",
        help="After refused files: stop, continue, or stop after so many",
    )


def _add_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="ID", help="Of an image")
    parser.add_argument("query", nargs="?", default="", metavar="QUERY", help="The picture, such as w=800&fit=cover")
    parser.add_argument("--key", metavar="KEY", help="The link key, as id:secret; better in GALLERY_LINK_KEY")
    parser.add_argument(
        "--expires-at", type=int, metavar="SECONDS", help="The end, since 1970; without it, in one to two hours"
    )


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("expected a number from 1 on")
    return int(text)


def _on_errors(text: str) -> int | None:
    """How many files may be refused before the command stops; `None`: any number."""
    if text in {"stop", "continue"}:
        return 1 if text == "stop" else None
    try:
        return _number(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError("expected stop, continue or a number from 1 on") from None
