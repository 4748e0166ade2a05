"""The commands `gallery keys …` and their options; their code is in `cli/keys.py` and `cli/link_keys.py`."""

from typing import Annotated

import typer

from gallery.cli.options import JsonOption
from gallery.cli.runner import run

keys_app = typer.Typer(help="Manage API keys, signing keys and link keys.", no_args_is_help=True)

link_keys_app = typer.Typer(help="Manage keys by which other servers sign URLs of pictures.", no_args_is_help=True)
keys_app.add_typer(link_keys_app, name="links")


@keys_app.command("create")
def keys_create(
    owner: Annotated[str, typer.Option(help="The owner of the images that the key reads and writes")],
    scope: Annotated[list[str], typer.Option(help="images:read, images:write, admin; repeatable")],
    expires: Annotated[str, typer.Option(help="When it expires: 90d, 12h, never")] = "90d",
    name: Annotated[str, typer.Option(help="A note on its purpose")] = "",
    json: JsonOption = False,
) -> None:
    """Create an API key, and print it once."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.create(s, owner, scope, expires, name, json=json), "keys")


@keys_app.command("list")
def keys_list(json: JsonOption = False) -> None:
    """List all API keys, without their secrets."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.list_(s, json=json), "keys")


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The id, not the key itself")], json: JsonOption = False
) -> None:
    """Revoke an API key.

    Its event streams and sessions end within seconds.
    """
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.revoke(s, key, json=json), "keys")


@keys_app.command("rotate")
def keys_rotate(
    at_once: Annotated[bool, typer.Option("--at-once", help="Delete the old keys: their signatures end now")] = False,
    json: JsonOption = False,
) -> None:
    """Sign links, cookies and tickets with a new key."""
    from gallery.cli import keys as command  # noqa: PLC0415

    run(lambda s: command.rotate(s, at_once=at_once, json=json), "keys")


@link_keys_app.command("create")
def link_keys_create(
    name: Annotated[str, typer.Option(help="A note on its purpose")] = "",
    json: JsonOption = False,
) -> None:
    """Create a link key, and print it once, as id:secret.

    A server that has it can sign URLs of any picture on demand, and nothing else.
    """
    from gallery.cli import link_keys as command  # noqa: PLC0415

    run(lambda s: command.create(s, name, json=json), "keys")


@link_keys_app.command("list")
def link_keys_list(json: JsonOption = False) -> None:
    """List all link keys, without their secrets."""
    from gallery.cli import link_keys as command  # noqa: PLC0415

    run(lambda s: command.list_(s, json=json), "keys")


@link_keys_app.command("revoke")
def link_keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The id, the part before the colon")],
    json: JsonOption = False,
) -> None:
    """Revoke a link key.

    The URLs that it has signed end within seconds.
    """
    from gallery.cli import link_keys as command  # noqa: PLC0415

    run(lambda s: command.revoke(s, key, json=json), "keys")
