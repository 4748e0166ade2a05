"""`gallery verify`: says line by line what is wrong between the rows and the object store."""

import msgspec
import typer
from msgspec import Struct

from gallery.cli import startup
from gallery.images.model import parse_id
from gallery.maintenance.verify import Finding, VerifyProgress
from gallery.settings import Settings


class Summary(Struct, frozen=True):
    """What the command says last: how much is wrong, how much of that is being mended, how many originals were read."""

    findings: int = 0
    mended: int = 0
    originals: int = 0


async def verify(settings: Settings, share: float, after: str | None, *, remove_unknown: bool, json: bool) -> int:
    """0 when all is well, 1 when something is wrong (also what is being mended).

    Raises `ImageNotFound` for an `after` that is no id, `ForeignStore`, `Unavailable`.
    """
    begin = None if after is None else parse_id(after)
    told: dict[str, bool] = {}  # an original that is too short is found by its length, and again by its bytes
    checked = 0
    async with startup.ready_gallery(settings) as gallery:
        if begin is None:
            async for finding in gallery.verify.differences(remove_unknown=remove_unknown):
                told[finding.key] = finding.mended
                _print(finding, json=json)
        if share > 0:
            async for said in gallery.verify.originals(share, begin):
                if isinstance(said, VerifyProgress) or said.key not in told:
                    _print(said, json=json)
                if isinstance(said, Finding):
                    told.setdefault(said.key, said.mended)
                else:
                    checked = said.checked
    if json:
        typer.echo(msgspec.json.encode(Summary(len(told), sum(told.values()), checked)))
    else:
        typer.echo(f"{len(told)} findings." if told else "All is well.")
    return 1 if told else 0


def _print(item: Finding | VerifyProgress, *, json: bool) -> None:
    if json:
        typer.echo(msgspec.json.encode(item))
    elif isinstance(item, VerifyProgress):
        typer.echo(f"{item.checked} originals read; to go on from here: --after {item.after}", err=True)
    else:
        mended = " (mended)" if item.mended else ""
        typer.echo(f"{item.found}: {item.key}{mended}")
