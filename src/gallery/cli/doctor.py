"""`gallery doctor`: prints the findings of all checks, for people or as JSON."""

from collections.abc import Mapping

import msgspec
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from gallery.delivery.picture_requests import read_presets
from gallery.doctor.checks import CHECKS
from gallery.doctor.model import Finding, State
from gallery.doctor.runner import run_checks
from gallery.errors import CannotStart, Misconfigured
from gallery.ops import heap
from gallery.settings import Settings

MARKS = {
    State.WELL: "[green]✓[/]",
    State.NOTICE: "[yellow]![/]",
    State.WRONG: "[bold red]✗[/]",
    State.SKIPPED: "[dim]–[/]",
    State.UNKNOWN: "[bold magenta]?[/]",
}
GROUP_TITLES = {"machine": "Machine", "database": "PostgreSQL", "valkey": "Valkey", "objects": "Object store"}


async def doctor(settings: Settings, environment: Mapping[str, str], *, json: bool) -> int:
    """Returns the exit code: 0 when nothing is wrong, 1 when something is, 2 when a check could not be made."""
    console, found = Console(highlight=False), list[Finding]()
    async for group in run_checks(settings, environment, CHECKS):
        found += group
        if json:
            for finding in group:
                typer.echo(msgspec.json.encode(finding))
        else:
            console.print(_table(group), "")
    if json:
        typer.echo(msgspec.json.encode(_counts(found)))
    else:
        console.print(_summary(found))
    return exit_code(found)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises `Misconfigured` for a setting that a start refuses."""
    settings = Settings.read(environment)
    read_presets(settings.presets)
    return settings


def report_bad_settings(error: Misconfigured, *, json: bool) -> int:
    """An invalid setting is the only finding: without settings no check can run."""
    do = "Correct it; docs/configuration.md lists every setting."
    finding = Finding("machine", "settings", State.WRONG, error.detail, do, 0, {})
    if json:
        typer.echo(msgspec.json.encode(finding))
        typer.echo(msgspec.json.encode(_counts([finding])))
    else:
        Console(highlight=False).print(_table([finding]))
    return 1


async def show_heap(pid: int, *, json: bool) -> int:
    """Raises `CannotStart` when the process does not answer."""
    try:
        found = await heap.request_report(pid)
    except ValueError as error:
        raise CannotStart(str(error)) from None
    except TimeoutError:
        raise CannotStart(
            f"Process {pid} did not answer: look for heap.not_written in its log, or check whether it hangs."
        ) from None
    if json:
        typer.echo(msgspec.json.encode(found))
        return 0
    console = Console(highlight=False)
    console.print(f"Process {pid} has {found.objects:,} Python objects, {decimal(found.bytes)} together.\n")
    console.print(_heap_table("By type", found.types))
    console.print(_heap_table("Largest objects (count: their length)", found.largest))
    return 0


def _table(group: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, title_justify="left", title_style="bold", padding=(0, 1))
    table.title = GROUP_TITLES[group[0].group]
    table.add_column(width=1)
    table.add_column(width=15, style="cyan")
    table.add_column(overflow="fold")
    for finding in group:
        do = f"\n[bold]→ {_escape_markup(finding.do)}[/]" if finding.do else ""
        dim = ("[dim]", "[/]") if finding.state is State.SKIPPED else ("", "")
        table.add_row(MARKS[finding.state], finding.check, f"{dim[0]}{_escape_markup(finding.says)}{dim[1]}{do}")
    return table


def _heap_table(title: str, kinds: list[heap.TypeUsage]) -> Table:
    table = Table("bytes", "count", "type", box=None, title=title, title_justify="left", title_style="bold")
    for column in table.columns[:2]:
        column.justify = "right"
    for kind in kinds:
        table.add_row(decimal(kind.bytes), f"{kind.count:,}", _escape_markup(kind.type))
    return table


def _counts(found: list[Finding]) -> dict[State, int]:
    """The number of checks by state, the command's last line."""
    return {state: sum(finding.state is state for finding in found) for state in State}


def _summary(found: list[Finding]) -> str:
    counts = _counts(found)
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    colour = "red" if counts[State.WRONG] else "yellow" if counts[State.UNKNOWN] else "green"
    return f"[bold {colour}]{', '.join(parts)}[/]"


def exit_code(found: list[Finding]) -> int:
    states = {finding.state for finding in found}
    return 1 if State.WRONG in states else 2 if State.UNKNOWN in states else 0


def _escape_markup(text: str) -> str:
    """Keeps rich from reading brackets as markup."""
    return text.replace("[", r"\[")
