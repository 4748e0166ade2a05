"""`gallery reprocess --stale`: has the images of an older recipe rendered again, and tells how far it is."""

from datetime import timedelta

import msgspec
import typer
from msgspec import Struct
from rich.console import Console

from gallery.cli import startup
from gallery.maintenance.stale import StaleProgress
from gallery.settings import Settings


class Summary(Struct, frozen=True, rename="camel"):
    """The last line of `--json`. `recipes` are the numbers of images of each older recipe at the start, `left` is how
    many had not been rendered by the present one at the end.
    """

    recipe: str
    recipes: dict[str, int]
    stale: int
    rendered: int
    failed: int
    left: int


class MissingWorkers:
    """Says once that no worker runs, and once that one does again."""

    def __init__(self) -> None:
        self._missing = False

    def report(self, done: StaleProgress) -> None:
        missing = done.queued > 0 and not done.workers
        if missing and not self._missing:
            typer.echo(f"No worker runs: {done.queued} images wait until one is started (gallery worker).", err=True)
        elif self._missing and done.workers:
            typer.echo("A worker runs now.", err=True)
        self._missing = missing


async def reprocess_stale(settings: Settings, *, dry_run: bool, wait: bool, json: bool) -> int:
    """Returns 0, or 1 if an image could not be rendered, or was rendered by another recipe than this process has."""
    async with startup.ready_gallery(settings) as gallery:
        recipe, recipes = gallery.stale.recipe, await gallery.stale.count()
        if not json:
            _print_recipes(recipes, recipe)
        done, workers = StaleProgress(sum(recipes.values())), MissingWorkers()
        if not dry_run:
            with Console(stderr=True).status("Reading …") as status:
                async for done in gallery.stale.reprocess(wait=wait):
                    status.update(_line(done))
                    workers.report(done)
                    if json:
                        typer.echo(msgspec.json.encode(done))
    if json:
        left = done.stale - done.rendered
        typer.echo(msgspec.json.encode(Summary(recipe, recipes, done.stale, done.rendered, done.failed, left)))
    elif not dry_run:
        typer.echo(_line(done))
    if done.other_recipe is not None:
        typer.echo(
            f"A worker has rendered by the recipe {done.other_recipe}, not by {recipe}. Give workers and this command "
            "the same GALLERY_RENDITIONS__ settings, restart the workers, and start again.",
            err=True,
        )
    return 1 if done.failed or done.other_recipe is not None else 0


def _print_recipes(recipes: dict[str, int], present: str) -> None:
    for version, images in recipes.items():
        typer.echo(f"{images} images of the recipe {version}")
    if not recipes:
        typer.echo(f"All images have the renditions of the present recipe, {present}.")


def _line(done: StaleProgress) -> str:
    parts = [f"{done.rendered} of {done.stale} images rendered", f"{done.queued} wait for a worker"]
    if done.failed:
        parts.append(f"{done.failed} could not be rendered")
    if done.queued and done.eta_seconds is not None:
        parts.append(f"about {timedelta(seconds=done.eta_seconds)} left")
    if done.paused:
        parts.append("the queue is paused")
    return ", ".join(parts) + "."
