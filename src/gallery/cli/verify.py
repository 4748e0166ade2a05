"""`gallery verify`: says line by line what is wrong between the rows and the object store."""

import msgspec
import typer

from gallery.cli import house
from gallery.images.model import id_from
from gallery.images.verify import Finding, Progress
from gallery.settings import Settings


async def verify(settings: Settings, share: float, after: str | None, *, remove_unknown: bool, json: bool) -> int:
    """0 when all is well, 1 when something is wrong (also what is being mended).

    Raises `ImageNotFound` for an `after` that is no id, `ForeignStore`, `Unavailable`.
    """
    begin = None if after is None else id_from(after)
    found = 0
    async with house.gallery(settings) as gallery:
        if begin is None:
            async for finding in gallery.verify.differences(remove_unknown=remove_unknown):
                found += 1
                _say(finding, json=json)
        if share > 0:
            async for said in gallery.verify.originals(share, begin):
                found += isinstance(said, Finding)
                _say(said, json=json)
    if not json:
        typer.echo(f"{found} findings." if found else "All is well.")
    return 1 if found else 0


def _say(said: Finding | Progress, *, json: bool) -> None:
    if json:
        typer.echo(msgspec.json.encode(said))
    elif isinstance(said, Progress):
        typer.echo(f"{said.checked} originals read; to go on from here: --after {said.after}", err=True)
    else:
        mended = " (mended)" if said.mended else ""
        typer.echo(f"{said.found}: {said.key}{mended}")
