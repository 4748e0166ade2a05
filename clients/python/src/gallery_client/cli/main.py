"""The command `gallery-client`: upload, list, show, export, delete and sign, with any Gallery.

Exit codes: 0 all there, 1 some were refused, 2 usage, 3 the server was not reached, 130 interrupted.
"""

import argparse
import asyncio
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from typing import TypeAlias

from gallery_client import __version__
from gallery_client.cli import library
from gallery_client.cli.cache import Cache, cache_folder
from gallery_client.cli.output import Output
from gallery_client.cli.upload import Summary, TooManyErrors, UploadCommand
from gallery_client.client import AsyncGallery, Gallery
from gallery_client.errors import GalleryError

REFUSED, USAGE, NOT_REACHED, INTERRUPTED = 1, 2, 3, 130
RETRY_FOR, UPLOAD_RETRY_FOR = 5.0, 60.0  # seconds
Command: TypeAlias = Callable[[Gallery, argparse.Namespace, Output], None]
COMMANDS: dict[str, Command] = {
    "list": library.list_images,
    "show": library.show,
    "export": library.export,
    "delete": library.delete,
    "sign": library.sign,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    options = _parser().parse_args(arguments)
    output = Output(json=options.json)
    try:
        return _run(options, output)
    except KeyboardInterrupt:
        return INTERRUPTED
    except TooManyErrors:
        return REFUSED
    except GalleryError as error:
        output.error(str(error))
        return NOT_REACHED if error.temporary else REFUSED
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        output.error(str(error))
        return USAGE


def _run(options: argparse.Namespace, output: Output) -> int:
    if options.command == "upload":
        return asyncio.run(_upload(options, output))
    with Gallery(options.url, options.token, retry_for=RETRY_FOR) as gallery:
        COMMANDS[options.command](gallery, options, output)
    return 0


async def _upload(options: argparse.Namespace, output: Output) -> int:
    summary = Summary()
    try:
        async with AsyncGallery(options.url, options.token, retry_for=RETRY_FOR) as gallery:
            await gallery.check(["0" * 64])  # tells soon that there is no server, or that the token is not valid
        with Cache(cache_folder()) as cache:
            async with AsyncGallery(options.url, options.token, retry_for=UPLOAD_RETRY_FOR) as gallery:
                await UploadCommand(gallery, options, cache, output, summary).run()
    finally:
        sent = "would be sent" if options.dry_run else "sent"
        facts = {"sent": summary.sent, "skipped": summary.skipped, "refused": summary.refused}
        output.line(f"{summary.sent} {sent}, {summary.skipped} were there, {summary.refused} refused", facts)
    return REFUSED if summary.refused else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("gallery-client", description=__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_upload(_command(commands, "upload", "send files, folders, globs and ZIP archives that are not there yet"))
    listing = _command(commands, "list", "list images, newest first")
    _add_filter(listing)
    listing.add_argument("--limit", type=int, metavar="N", help="at most so many")
    _command(commands, "show", "print all facts of images").add_argument("images", nargs="+", metavar="ID")
    export = _command(commands, "export", "fetch the originals, each with a JSON file beside it")
    export.add_argument("folder", metavar="DIR")
    _add_filter(export)
    _command(commands, "delete", "delete images").add_argument("images", nargs="+", metavar="ID")
    sign = _command(commands, "sign", "sign the URL of a picture by a link key, without a call")
    sign.add_argument("image", metavar="ID")
    sign.add_argument("query", nargs="?", default="", help="the picture, such as 'w=800&h=600&fit=cover'")
    key = os.environ.get("GALLERY_LINK_KEY")
    sign.add_argument("--key", required=key is None, default=key, help="id:secret; also GALLERY_LINK_KEY")
    sign.add_argument("--expires-at", type=int, metavar="SECONDS", help="since 1970; by default in one to two hours")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, about: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
    url = os.environ.get("GALLERY_URL", "http://127.0.0.1:3000")
    parser.add_argument("--url", default=url, help="where Gallery is; also GALLERY_URL (%(default)s)")
    token = os.environ.get("GALLERY_TOKEN")
    parser.add_argument("--token", default=token, help="an API key or a JWT; better in GALLERY_TOKEN")
    parser.add_argument("--json", action="store_true", help="print an object a line")
    return parser


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--search", help="images with all of these words")
    parser.add_argument("--tag", action="append", help="images with this tag; repeatable")
    parser.add_argument("--status", choices=["PENDING", "PROCESSING", "READY", "FAILED"])


def _add_upload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--wait", action="store_true", help="wait for each image until it is READY")
    parser.add_argument("--tag", action="append", help="for all images; repeatable")
    parser.add_argument("--title-from", choices=["name"], default="name", help="the title is the file's name")
    parser.add_argument("--dry-run", action="store_true", help="only tell which files would be sent")
    parser.add_argument("--watch", action="store_true", help="go on with files that are new or changed")
    parser.add_argument("--delete", action="store_true", help="delete files that are stored")
    parser.add_argument(
        "--on-errors", type=_on_errors, default="continue", help="stop, continue (default), or stop after so many"
    )


def _on_errors(text: str) -> int | None:
    """How many files may be refused before the command stops; `None`: any number."""
    if text in {"stop", "continue"}:
        return 1 if text == "stop" else None
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("expected stop, continue or a number")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
