"""`gallery config`: prints the settings in force."""

import msgspec
import typer

from gallery.delivery.picture_requests import read_presets
from gallery.settings import Settings


async def config(settings: Settings, *, changed: bool, json: bool) -> None:
    """Raises `Misconfigured` for a setting that a start refuses."""
    read_presets(settings.presets)
    shown = [(entry, value) for entry, value in settings.items() if not changed or value != entry.default]
    for entry, value in shown:
        if json:
            typer.echo(msgspec.json.encode({"name": entry.variable, "value": value}))
        else:
            typer.echo(f"{entry.variable:36} {'' if value is None else value!s:24} {entry.description}")
    if json:
        typer.echo(msgspec.json.encode({"settings": len(shown)}))
