"""The commands upload, list, show, export, delete and sign, of `gallery-client` and of `gallery`.

Exit codes: 0 all there, 1 some were refused, 2 usage, 3 the server was not reached, 130 interrupted.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import httpx

from gallery_client.addresses import connection_options
from gallery_client.cli import library
from gallery_client.cli.cache import Cache
from gallery_client.cli.files import NothingFoundError
from gallery_client.cli.output import Output
from gallery_client.cli.parser import parse
from gallery_client.cli.upload import Summary, TooManyErrorsError, UploadCommand
from gallery_client.client import AsyncGallery, Gallery
from gallery_client.errors import GalleryError

REFUSED, USAGE, NOT_REACHED, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141
RETRY_FOR, UPLOAD_RETRY_FOR = 5.0, 60.0  # seconds
FIRST_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
Command: TypeAlias = Callable[[Gallery, argparse.Namespace, Output], int]
COMMANDS: dict[str, Command] = {
    "list": library.list_images,
    "show": library.show,
    "export": library.export,
    "delete": library.delete,
    "sign": library.sign,
}


def main(arguments: Sequence[str] | None = None, program: str = "gallery-client") -> int:
    """The exit code."""
    options = parse(arguments, program)
    output = Output(json=options.json)
    try:
        return _run(options, output)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # nothing reads the output any more, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except TooManyErrorsError:
        return REFUSED
    except (GalleryError, OSError, NothingFoundError, ValueError, ImportError) as error:
        output.error(str(error))
        return _exit_code(error)


def _exit_code(error: Exception) -> int:
    """Of `ImportError`, which httpx raises for proxies that need another package, and the like: usage."""
    if isinstance(error, GalleryError):
        return NOT_REACHED if error.temporary or _is_of_another_server(error) else REFUSED
    return REFUSED if isinstance(error, OSError) else USAGE


def _is_of_another_server(error: GalleryError) -> bool:
    """A page of a proxy, of a sign-in or of a wrong address, in place of Gallery's answer."""
    return error.code == "answer_not_understood" or error.code.startswith("http_")


def _run(options: argparse.Namespace, output: Output) -> int:
    if options.command == "upload":
        return asyncio.run(_upload(options, output))
    with Gallery(options.url, options.token, retry_for=RETRY_FOR) as gallery:
        refused = COMMANDS[options.command](gallery, options, output)
    return REFUSED if refused else 0


async def _upload(options: argparse.Namespace, output: Output) -> int:
    summary = Summary()
    try:
        await _check_that_gallery_is_there(options)
        with Cache(output.error) as cache:
            async with AsyncGallery(options.url, options.token, retry_for=UPLOAD_RETRY_FOR) as gallery:
                await UploadCommand(gallery, options, cache, output, summary).run()
    finally:
        sent = "would be sent" if options.dry_run else "sent"
        facts = {"sent": summary.sent, "skipped": summary.skipped, "refused": summary.refused}
        output.line(f"{summary.sent} {sent}, {summary.skipped} were there, {summary.refused} refused", facts)
    return REFUSED if summary.refused or summary.undeleted else 0


async def _check_that_gallery_is_there(options: argparse.Namespace) -> None:
    """Tells soon that there is no server, or that the token is not valid."""
    async with (
        httpx.AsyncClient(**connection_options(options.url, FIRST_TIMEOUT)) as http,
        AsyncGallery(options.url, options.token, retry_for=RETRY_FOR, http=http) as gallery,
    ):
        await gallery.check(["0" * 64])


if __name__ == "__main__":
    sys.exit(main())
