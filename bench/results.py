"""The results: what a group reached, as JSON in `bench/results/` and as text on the terminal."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from bench import ROOT

FOLDER = ROOT / "bench" / "results"


class Goal(Struct):
    """What a group should reach: at most `limit`, or at least where `at_least`."""

    text: str
    limit: float
    reached: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.reached >= self.limit if self.at_least else self.reached <= self.limit


class Table(Struct):
    title: str
    columns: list[str]
    rows: list[list[str]]


class Bar(Struct):
    """One bar of a plot: the median, and the range of the rounds."""

    label: str
    value: float
    low: float
    high: float


class Plot(Struct):
    """Bars of one unit, from zero; drawn by docs/make_performance.py."""

    name: str
    title: str
    unit: str
    bars: list[Bar]


class Result(Struct):
    """A group's results. `rounds` has each single measurement, by what was measured."""

    group: str
    goals: list[Goal] = []
    tables: list[Table] = []
    plots: list[Plot] = []
    notes: list[str] = []
    rounds: dict[str, list[float]] = {}
    commit: str = ""
    date: str = ""
    machine: str = ""
    baseline: str = ""


def finish(result: Result, folder: Path, baseline: str | None, *, quiet: bool = False) -> None:
    """Stamps the result, writes it, and prints it."""
    result.commit = _git("rev-parse", "--short", "HEAD") + (
        "-dirty" if _git("status", "--porcelain", "-uno", ".", ":!bench/results") else ""
    )
    result.date = f"{datetime.now(UTC):%Y-%m-%d}"
    result.machine = describe_machine()
    result.baseline = _git("rev-parse", "--short", baseline) if baseline else ""
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(result), indent=1)
    (folder / f"{result.group}.json").write_bytes(text + b"\n")
    if not quiet:
        print(as_text(result))


def as_text(result: Result) -> str:
    parts = [f"\n# {result.group}: {result.commit}, {result.machine}"]
    for table in result.tables:
        parts += [f"\n{table.title}", *_aligned([table.columns, *table.rows])]
    if result.goals:
        rows = [
            [goal.text, limit_text(goal), reached_text(goal), "met" if goal.met else "NOT MET"] for goal in result.goals
        ]
        parts += ["\nGoals", *_aligned([["", "goal", "reached", ""], *rows])]
    return "\n".join([*parts, *result.notes])


def limit_text(goal: Goal) -> str:
    return f"{'≥' if goal.at_least else '≤'} {number(goal.limit)}{goal.unit}"


def reached_text(goal: Goal) -> str:
    return f"{number(goal.reached)}{goal.unit}"


def with_range(values: Sequence[float]) -> str:
    """The median, with the lowest and the highest in brackets."""
    return f"{number(statistics.median(values))} [{number(min(values))}–{number(max(values))}]"


def bar(label: str, values: Sequence[float]) -> Bar:
    return Bar(label, statistics.median(values), min(values), max(values))


def ratio_range(values: Sequence[float], others: Sequence[float]) -> str:
    """The ratio of two medians, with the range of the ratios of the rounds, which were measured in turns."""
    ratios = [value / other for value, other in zip(values, others, strict=True)]
    middle = statistics.median(values) / statistics.median(others)
    return f"{middle:.2f} [{min(ratios):.2f}–{max(ratios):.2f}]"


def number(value: float) -> str:
    """Three digits, as a person reads them: 1,650, 36.2, 0.187."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def describe_machine() -> str:
    cores = len(os.sched_getaffinity(0))
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{cores} cores of {model}, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
