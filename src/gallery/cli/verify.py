"""`gallery verify`: prints each difference between the rows and the object store."""

import msgspec
import typer
from msgspec import Struct

from gallery.cli import startup
from gallery.images.model import parse_id
from gallery.maintenance.verify import Finding, VerifyProgress
from gallery.settings import Settings


class Summary(Struct, frozen=True):
    """The last line: the number of findings, of those that Gallery mends, and of originals read."""

    findings: int = 0
    mended: int = 0
    originals: int = 0


async def verify(settings: Settings, share: float, after: str | None, *, remove_unknown: bool, json: bool) -> int:
    """Returns the exit code: 0 without findings, 1 with findings (mended ones too).

    Raises `ImageNotFound` when `after` is not an id, `ForeignStore`, `Unavailable`.
    """
    begin = None if after is None else parse_id(after)
    printed: dict[str, bool] = {}  # an original that is too short is found by its length, and again by its bytes
    checked = 0
    async with startup.ready_gallery(settings) as gallery:
        if begin is None:
            async for finding in gallery.verify.differences(remove_unknown=remove_unknown):
                printed[finding.key] = finding.mended
                _print(finding, json=json)
        if share > 0:
            async for item in gallery.verify.originals(share, begin):
                if isinstance(item, VerifyProgress) or item.key not in printed:
                    _print(item, json=json)
                if isinstance(item, Finding):
                    printed.setdefault(item.key, item.mended)
                else:
                    checked = item.checked
    if json:
        typer.echo(msgspec.json.encode(Summary(len(printed), sum(printed.values()), checked)))
    else:
        typer.echo(f"{len(printed)} findings." if printed else "Nothing is wrong.")
    return 1 if printed else 0


def _print(item: Finding | VerifyProgress, *, json: bool) -> None:
    if json:
        typer.echo(msgspec.json.encode(item))
    elif isinstance(item, VerifyProgress):
        typer.echo(f"{item.checked} originals read; to continue from here: --after {item.after}", err=True)
    else:
        mended = " (mended)" if item.mended else ""
        typer.echo(f"{item.found}: {item.key}{mended}")
