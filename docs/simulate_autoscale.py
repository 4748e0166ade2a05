"""Simulates a day's load with the decision of `GET /admin/autoscale` and draws the result.

`python docs/simulate_autoscale.py` writes docs/images/autoscale.svg and prints the numbers of docs/scaling.md. The same
seed gives the same picture. A model, not a measurement: a worker renders `IMAGES_PER_SECOND` images a second, and a new
one takes `STARTUP_SECONDS` seconds to start.
"""  # noqa: INP001

import random
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import exp, inf
from pathlib import Path

from msgspec import Struct

from gallery.admin.autoscale import Load, Rules, decide

PICTURE = Path(__file__).parent / "images" / "autoscale.svg"
DAY_SECONDS = 24 * 3600
SEED = 5
IMAGES_PER_SECOND = 4.0  # of one worker with two renderers
STARTUP_SECONDS = 25  # of a new worker
BUSY_WINDOW_SECONDS = 60  # over which `busy` is measured
POLL_SECONDS = 15  # as KEDA's
RULES = Rules(max=12)


class Second(Struct, frozen=True):
    """One second: new and waiting images, the age of the oldest, workers that work, and workers that run."""

    arrived: int
    waiting: int
    oldest: float
    workers: int
    paid: int


def day() -> Callable[[int], float]:
    """Uploads a second: few at night, many in the evening, an import at ten, and a shared link at 17:30."""

    def rate(second: int) -> float:
        hour = second / 3600
        people = 0.6 + 9 * _bump(hour, 13, 2.6) + 19 * _bump(hour, 20.2, 1.7)
        imported = 34 if 10 <= hour < 10.2 else 0
        return people + imported + 40 * _bump(hour, 17.5, 0.08)

    return rate


def simulate(rate: Callable[[int], float], rules: Rules, seed: int = SEED) -> list[Second]:
    """Second by second; a worker starts `STARTUP_SECONDS` after the decision and ends at once."""
    chance = random.Random(seed)  # noqa: S311  no secret
    queue: deque[int] = deque()  # the arrival of each waiting image
    coming: deque[int] = deque()  # the start of each new worker
    worked: deque[float] = deque(maxlen=BUSY_WINDOW_SECONDS)
    workers, joined, left, done = 1, -inf, -inf, 0.0
    seconds = []
    for now in range(DAY_SECONDS):
        arrived = _poisson(chance, rate(now))
        queue.extend([now] * arrived)
        while coming and coming[0] <= now:
            coming.popleft()
            workers, joined = workers + 1, now
        done = min(done + workers * IMAGES_PER_SECOND, float(len(queue)) + 1)
        before = len(queue)
        while queue and done >= 1:
            queue.popleft()
            done -= 1
        worked.append((before - len(queue)) / IMAGES_PER_SECOND)
        oldest = now - queue[0] if queue else 0
        if now % POLL_SECONDS == 0:
            busy = min(1.0, sum(worked) / (len(worked) * workers))
            wanted = decide(Load(workers, len(queue), oldest, busy, now - joined, now - left), rules).wanted
            coming.extend([now + STARTUP_SECONDS] * (wanted - workers - len(coming)))
            if wanted < workers:
                workers, left = wanted, now
        seconds.append(Second(arrived, len(queue), oldest, workers, workers + len(coming)))
    return seconds


def _bump(hour: float, at: float, width: float) -> float:
    return exp(-(((hour - at) / width) ** 2))


def _poisson(chance: random.Random, mean: float) -> int:
    """A random number of arrivals in a second, with this mean."""
    count, left = 0, chance.expovariate(1)
    while left < mean:
        count, left = count + 1, left + chance.expovariate(1)
    return count


# --- the picture ----------------------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, TOP, PANEL, GAP = 960, 64, 28, 92, 118, 46
STYLE = """
  svg { font: 13px system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
  .ground { fill: #fbfaf7 } .text { fill: #1e1d1a } .soft { fill: #6b6860 } .grid { stroke: #e2dfd7 }
  .area { fill: #14685a; fill-opacity: .13 }
  .line { stroke: #14685a; fill: none; stroke-width: 1.6; stroke-linejoin: round }
  .mark { stroke: #b3261e; stroke-dasharray: 5 4 } .name { fill: #b3261e }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #131312 } .text { fill: #eeebe4 } .soft { fill: #a19d93 } .grid { stroke: #34322e }
    .area { fill: #6fceb8 } .line { stroke: #6fceb8 } .mark { stroke: #ff8a7d } .name { fill: #ff8a7d }
  }
"""


class Panel(Struct, frozen=True):
    """One curve: its title, its values by minute, its highest tick, and lines with a meaning."""

    title: str
    values: Sequence[float]
    max_value: float
    marks: Sequence[tuple[float, str]] = ()
    step: bool = False


def draw(seconds: Sequence[Second]) -> str:
    minutes = [seconds[start : start + 60] for start in range(0, DAY_SECONDS, 60)]
    panels = [
        Panel("Uploads a second", [sum(s.arrived for s in m) / 60 for m in minutes], 50),
        Panel(
            "Images waiting (the most within each minute)",
            [max(s.waiting for s in m) for m in minutes],
            _round_up(max(s.waiting for s in seconds)),
            [(RULES.add_above, "add above 100")],
        ),
        Panel(
            "Oldest image, seconds",
            [max(s.oldest for s in m) for m in minutes],
            _round_up(max(s.oldest for s in seconds)),
            [(RULES.latency, "add above 30 s")],
        ),
        Panel("Workers", [m[-1].workers for m in minutes], RULES.max, [(RULES.max, "max")], step=True),
    ]
    height = TOP + len(panels) * (PANEL + GAP)
    parts = [_header(height), *(_panel(panel, TOP + i * (PANEL + GAP)) for i, panel in enumerate(panels)), "</svg>\n"]
    return "\n".join(parts)


def _header(height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>A simulated day of uploads, and the workers that are asked for</title>\n<style>{STYLE}</style>\n"
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>\n'
        f'<text class="text" x="{LEFT}" y="30" font-size="18" font-weight="600">A day, and its workers</text>\n'
        f'<text class="soft" x="{LEFT}" y="50">'
        f"Each renders {IMAGES_PER_SECOND:g} images a second and takes {STARTUP_SECONDS} s to "
        f"come; asked for every {POLL_SECONDS} s</text>"
    )


def _panel(panel: Panel, top: float) -> str:
    def x(minute: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * minute / 1440, 1)

    def y(value: float) -> float:
        return round(top + PANEL - PANEL * value / panel.max_value, 1)

    points = _points(panel, x, y)
    lines = [f'<text class="text" x="{LEFT}" y="{top - 9}" font-weight="500">{panel.title}</text>']
    for value in (0, panel.max_value / 2, panel.max_value):
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        lines.append(f'<text class="soft" x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{value:,.0f}</text>')
    lines += [
        f'<text class="soft" x="{x(60 * hour)}" y="{top + PANEL + 17}" text-anchor="middle">{hour:02}:00</text>'
        for hour in range(0, 25, 3)
    ]
    lines.append(f'<polygon class="area" points="{x(0)},{y(0)} {points} {x(1440)},{y(0)}"/>')
    lines.append(f'<polyline class="line" points="{points}"/>')
    for value, name in panel.marks:
        lines.append(f'<line class="mark" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        lines.append(f'<text class="name" x="{WIDTH - RIGHT}" y="{y(value) - 5}" text-anchor="end">{name}</text>')
    return "\n".join(lines)


def _points(panel: Panel, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    if not panel.step:
        return " ".join(f"{x(minute)},{y(value)}" for minute, value in enumerate(panel.values))
    corners = [(0, panel.values[0])]
    for minute, value in enumerate(panel.values):
        if value != corners[-1][1]:
            corners += [(minute, corners[-1][1]), (minute, value)]
    return " ".join(f"{x(minute)},{y(value)}" for minute, value in [*corners, (1440, panel.values[-1])])


def _round_up(value: float) -> float:
    """The next round number above."""
    unit = next(10**power for power in range(1, 9) if value <= 10 ** (power + 1)) / 2
    return unit * -(-value // unit)


def summary(seconds: Sequence[Second]) -> str:
    images = sum(s.arrived for s in seconds)
    waits = sorted(s.oldest for s in seconds)
    hours = sum(s.paid for s in seconds) / 3600
    changes = sum(a.workers != b.workers for a, b in pairwise(seconds))
    return (
        f"{images:,} images; the oldest waited 30 s or less for "
        f"{100 * sum(w <= 30 for w in waits) / DAY_SECONDS:.1f} % of the "
        f"day, {waits[-1]:.0f} s at worst; at most {max(s.waiting for s in seconds):,} waited; "
        f"{hours:.0f} worker hours, of {24 * RULES.max} with {RULES.max} all day; {changes} changes"
    )


if __name__ == "__main__":
    result = simulate(day(), RULES)
    PICTURE.write_text(draw(result))
    print(summary(result))  # noqa: T201
