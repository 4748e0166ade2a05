"""Writes the results into docs/performance.md, and draws their plots: `python docs/make_performance.py`.

The results are bench/results/*.json, which `make bench` writes; the rest of the page is written by hand.
"""  # noqa: INP001

import re
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.results import FOLDER, Bar, Plot, Result, Table, limit_text, number, reached_text  # noqa: E402

PAGE = ROOT / "docs" / "performance.md"
PICTURES = ROOT / "docs" / "images"
BEGIN, END = "<!-- Written by docs/make_performance.py from bench/results. -->", "<!-- The end of the results. -->"
GROUPS = ("reads", "uploads", "worker", "pictures", "peers", "events", "scale", "rendering", "encoders")
WIDTH, LABEL, VALUES, ROW, TOP, MARGIN = 880, 300, 90, 24, 52, 20  # px
STYLE = """
  svg { font: 13px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
  .ground { fill: #fbfaf7 } .text { fill: #1e1d1a } .soft { fill: #6b6860 } .title { font-weight: 600 }
  .bar { fill: #14685a; fill-opacity: .75 } .range { stroke: #1e1d1a; stroke-width: 1.2 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #131312 } .text { fill: #eeebe4 } .soft { fill: #a19d93 }
    .bar { fill: #6fceb8 } .range { stroke: #eeebe4 }
  }
"""


def main() -> None:
    for result in results():
        for plot in result.plots:
            (PICTURES / f"performance-{plot.name}.svg").write_text(draw(plot))
    PAGE.write_text(page())


def results() -> list[Result]:
    """The results that are there, in the order of the groups."""
    files = [FOLDER / f"{group}.json" for group in GROUPS]
    return [msgspec.json.decode(file.read_bytes(), type=Result) for file in files if file.exists()]


def page() -> str:
    """The whole page as it should be."""
    text = "\n".join(line for result in results() for line in _section(result))
    return re.sub(f"(?<={BEGIN}\n).*(?={END})", lambda _: f"\n{text}\n", PAGE.read_text(), flags=re.DOTALL)


def _section(result: Result) -> Iterator[str]:
    against = f", against {result.baseline}" if result.baseline else ""
    yield f"## Results: {result.group}\n"
    yield f"Of {result.commit}{against}, on {result.date}; {result.machine}.\n"
    if result.goals:
        goals = [[g.text, limit_text(g), reached_text(g), "met" if g.met else "**not met**"] for g in result.goals]
        yield from _table(Table("", ["goal", "", "reached", ""], goals))
    for plot in result.plots:
        yield f"![{plot.title}](images/performance-{plot.name}.svg)\n"
    for table in result.tables:
        yield f"{table.title}:\n"
        yield from _table(table)
    for note in result.notes:
        yield f"{note}\n"


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.columns)} |"
    yield "|" + "---|" * len(table.columns)
    for row in table.rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def draw(plot: Plot) -> str:
    """Horizontal bars from zero, each with the range of its rounds and its median."""
    height = TOP + ROW * len(plot.bars) + MARGIN
    scale = (WIDTH - LABEL - VALUES - MARGIN) / max(bar.high for bar in plot.bars)
    bars = "".join(_bar(bar, TOP + ROW * index, scale) for index, bar in enumerate(plot.bars))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n<style>{STYLE}</style>\n'
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>\n'
        f'<text class="text title" x="{MARGIN}" y="30">{escape(plot.title)}, {escape(plot.unit)}</text>\n{bars}</svg>\n'
    )


def _bar(bar: Bar, y: float, scale: float) -> str:
    middle, low, high = y + ROW / 2, LABEL + bar.low * scale, LABEL + bar.high * scale
    return (
        f'<text class="text" x="{LABEL - 10}" y="{middle + 4:.0f}" text-anchor="end">{escape(bar.label)}</text>\n'
        f'<rect class="bar" x="{LABEL}" y="{y + 4:.0f}" width="{max(1, bar.value * scale):.1f}" height="{ROW - 8}"/>\n'
        f'<path class="range" d="M{low:.1f} {middle:.0f}H{high:.1f}"/>\n'
        f'<text class="soft" x="{high + 8:.1f}" y="{middle + 4:.0f}">{number(bar.value)}</text>\n'
    )


if __name__ == "__main__":
    main()
