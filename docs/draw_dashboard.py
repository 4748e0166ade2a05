"""Draws the Grafana dashboard without Grafana: each panel with Prometheus' results of its queries.

`python docs/draw_dashboard.py http://127.0.0.1:9090` writes docs/images/dashboard.svg from a running Prometheus: its
last minutes, or those before `--end` (seconds since 1970). `--scrape` is the number of seconds between two scrapes,
for Grafana's `$__rate_interval`.
"""  # noqa: INP001

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from math import floor, isfinite, log10
from pathlib import Path
from string import Template
from time import gmtime, strftime, time
from typing import Any

import httpx
import typer
from msgspec import Struct
from msgspec.structs import asdict
from simulate_autoscale import STYLE

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "gallery.json"
PICTURE = Path(__file__).parent / "images" / "dashboard.svg"
MARGIN, HEADER, COLUMN, ROW, GAP = 24, 68, 50, 27, 8
WIDTH = 24 * COLUMN + 2 * MARGIN  # Grafana's grid has 24 columns
LIGHT = ("#14685a", "#c07f1d", "#7b3f8c", "#2b6cb0", "#b3261e", "#6b7a1e", "#5a6472", "#c2528b", "#8a5a3c", "#2a8fa3")
DARK = ("#6fceb8", "#e6b45c", "#c79be0", "#7fb2ea", "#ff8a7d", "#b7c55a", "#a3adb8", "#f09ac0", "#cf9f7d", "#6cc7dc")
THRESHOLDS = {"green": 0, "orange": 1, "red": 4}  # indexes of those colours
CURVE_STYLE = """
  .card { fill: #fff; stroke: #e2dfd7 } .full { fill: currentColor } .small { font-size: 11.5px }
  .curve { stroke: currentColor; fill: none; stroke-width: 1.6; stroke-linejoin: round; stroke-linecap: round }
"""
UNITS = {
    "s": ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms")),
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")),
    "percentunit": ((0.01, "%"),),
    "reqps": ((1, "req/s"),),
    "ops": ((1, "ops/s"),),
    "short": ((1, ""),),
}


class Span(Struct, frozen=True):
    """The drawn period in seconds since 1970, and the seconds between two points."""

    start: int
    end: int
    step: int


class Series(Struct, frozen=True):
    """A curve: its legend and its values by time; `below` has the values it is stacked on."""

    name: str
    values: dict[int, float]
    below: dict[int, float] = {}


class Plot(Struct, frozen=True):
    """The area of the curves, and its highest value."""

    x_offset: float
    y_offset: float
    width: float
    height: float
    max_value: float
    span: Span

    def x(self, at: int) -> float:
        return round(self.x_offset + self.width * (at - self.span.start) / (self.span.end - self.span.start), 1)

    def y(self, value: float) -> float:
        return round(self.y_offset + self.height * (1 - value / self.max_value), 1)


def main(prometheus: str, minutes: int = 5, scrape: int = 15, end: int = 0) -> None:
    board = json.loads(DASHBOARD.read_text())
    step = max(scrape, minutes // 2)
    until = (end or int(time())) // step * step
    span = Span(until - 60 * minutes, until, step)
    everything = {one["name"]: one["allValue"] for one in board["templating"]["list"] if "allValue" in one}
    variables = {"__rate_interval": f"{max(step + scrape, 4 * scrape)}s", **everything}
    with httpx.Client(base_url=prometheus) as client:
        panels = [_panel(panel, list(_query(client, panel, span, variables)), span) for panel in board["panels"]]
    PICTURE.write_text("\n".join([_header(board), *panels, "</svg>\n"]))


def _query(client: httpx.Client, panel: dict[str, Any], span: Span, variables: Mapping[str, str]) -> Iterator[Series]:
    for target in panel.get("targets", []):
        query = Template(target["expr"]).substitute(variables)
        answer = client.get("/api/v1/query_range", params={"query": query, **asdict(span)})
        for found in answer.raise_for_status().json()["data"]["result"]:
            words = re.sub("{{(.*?)}}", r"${\1}", target.get("legendFormat") or "")
            values = {int(at): float(value) for at, value in found["values"] if isfinite(float(value))}
            if values:
                yield Series(Template(words).substitute(defaultdict(str, found["metric"])).strip(), values)


def _header(board: dict[str, Any]) -> str:
    height = (
        HEADER + ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + MARGIN - GAP
    )
    light, dark = (" ".join(f".c{n} {{ color: {one} }}" for n, one in enumerate(these)) for these in (LIGHT, DARK))
    dark = f"@media (prefers-color-scheme: dark) {{ .card {{ fill: #1c1c1a; stroke: #34322e }} {dark} }}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>Gallery’s dashboard</title>\n<style>{STYLE}{CURVE_STYLE}  {light}\n  {dark}\n</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>\n'
        f"{_text(MARGIN, 34, board['title'], 'text', size=18, weight=600)}\n"
        f"{_text(MARGIN, 54, 'Prometheus’ answers to the queries of deploy/grafana/gallery.json; times are UTC')}"
    )


def _panel(panel: dict[str, Any], series: Sequence[Series], span: Span) -> str:
    grid, field = panel["gridPos"], panel.get("fieldConfig", {}).get("defaults")
    width, height = COLUMN * grid["w"] - GAP, ROW * grid["h"] - GAP
    parts = [f'<g transform="translate({MARGIN + COLUMN * grid["x"]} {HEADER + ROW * grid["y"]})">']
    if panel["type"] == "row":
        return "\n".join([*parts, _text(0, 14, panel["title"], "text", size=14, weight=600), "</g>"])
    parts.append(f'<rect class="card" width="{width}" height="{height}" rx="4"/>')
    parts.append(_text(12, 21, panel["title"], "text", weight=500))
    if series:
        parts += (_stat if panel["type"] == "stat" else _chart)(field, series, span, width, height)
    else:
        parts.append(_text(width / 2, height / 2 + 8, "No data", anchor="middle"))
    return "\n".join([*parts, "</g>"])


def _stat(field: dict[str, Any], series: Sequence[Series], span: Span, width: float, height: float) -> Iterator[str]:
    value = series[-1].values[max(series[-1].values)]
    passed = [step["color"] for step in field["thresholds"]["steps"] if value >= (step["value"] or 0)]
    colour = THRESHOLDS[passed[-1]]
    plot = Plot(1, 0.68 * height, width - 2, 0.32 * height - 1, _axis_max(series, field["unit"]), span)
    yield from _curves(series[-1:], plot, 0.13, colour)
    yield _text(
        width / 2, 0.56 * height, _format_value(value, field["unit"]), f"full c{colour}", "middle", size=24, weight=600
    )


def _chart(field: dict[str, Any], series: Sequence[Series], span: Span, width: float, height: float) -> Iterator[str]:
    series = _stacked(series) if "stacking" in field["custom"] else series
    columns = max(2, int((width - 28) / (30 + 6.2 * max(len(line.name) for line in series))))
    letters = int(((width - 28) / columns - 30) / 6.2)
    low = 68 + 16 * -(-len(series) // columns)  # legend and hours
    plot = Plot(74, 38, width - 94, height - low, _axis_max(series, field["unit"]), span)
    for value in (0, plot.max_value / 2, plot.max_value):
        yield f'<line class="grid" x1="74" x2="{width - 20}" y1="{plot.y(value)}" y2="{plot.y(value)}"/>'
        yield _text(66, plot.y(value) + 4, _format_value(value, field["unit"], plot.max_value), "soft small", "end")
    every = 60 * max(1, (span.end - span.start) // 240)
    for at in range(-(-span.start // every) * every, span.end + 1, every):
        yield _text(plot.x(at), height - low + 55, strftime("%H:%M", gmtime(at)), "soft small", "middle")
    yield from _curves(series, plot, field["custom"]["fillOpacity"] / 100)
    for number, line in enumerate(series):
        x, y = 14 + (width - 28) / columns * (number % columns), height - low + 75 + 16 * (number // columns)
        yield f'<rect class="full c{number % len(LIGHT)}" x="{x:g}" y="{y - 5}" width="12" height="3" rx="1.5"/>'
        yield _text(x + 17, y, _shorten(line.name, letters), "soft small")


def _shorten(name: str, letters: int) -> str:
    """Shortens a long name to its first word and its end: a method and the end of its route."""
    first, _, rest = name.partition(" ")
    end = rest[len(first) + 2 - letters :]
    return name if len(name) <= letters else f"{first} …{end[max(0, end.find('/')) :]}"


def _stacked(series: Sequence[Series]) -> list[Series]:
    stack = [Series("", {})]
    for line in series:
        below = stack[-1].below | stack[-1].values
        stack.append(Series(line.name, {at: value + below.get(at, 0) for at, value in line.values.items()}, below))
    return stack[1:]


def _curves(series: Sequence[Series], plot: Plot, shade: float, colour: int = 0) -> Iterator[str]:
    """Gaps in the data stay gaps."""
    for number, line in enumerate(series, start=colour):
        for _, run in groupby(enumerate(sorted(line.values)), lambda one: one[1] - one[0] * plot.span.step):
            times = [at for _, at in run]
            curve = " ".join(f"{plot.x(at)},{plot.y(line.values[at])}" for at in times)
            under = reversed(times) if line.below else (times[-1], times[0])
            base = " ".join(f"{plot.x(at)},{plot.y(line.below.get(at, 0))}" for at in under)
            yield f'<g class="c{number % len(LIGHT)}"><polyline class="curve" points="{curve}"/>'
            yield f'<polygon class="full" fill-opacity="{shade}" points="{curve} {base}"/></g>'


def _axis_max(series: Sequence[Series], unit: str) -> float:
    """The next round number above all values, in the unit of the labels."""
    highest = max(value for line in series for value in line.values.values()) or 1
    size, _ = _scale(highest, unit)
    power = size * 10.0 ** floor(log10(highest / size))
    return next(power * digit for digit in (1, 1.5, 2, 3, 4, 6, 8, 10) if highest <= power * digit)


def _scale(value: float, unit: str) -> tuple[float, str]:
    return next((scale for scale in UNITS[unit] if value >= scale[0]), UNITS[unit][-1])


def _format_value(value: float, unit: str, like: float = 0) -> str:
    """The value in its best unit, or in that of `like`."""
    size, name = _scale(like or value, unit)
    return f"{float(f'{value / size:.3g}'):g} {name}".strip()


def _text(
    x: float, y: float, text: str, css_class: str = "soft", anchor: str = "start", size: float = 0, weight: int = 0
) -> str:
    style = (f' font-size="{size}"' if size else "") + (f' font-weight="{weight}"' if weight else "")
    return f'<text class="{css_class}" x="{x:g}" y="{y:g}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


if __name__ == "__main__":
    typer.run(main)
