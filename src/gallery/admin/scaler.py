"""Looks at the rows and has `admin/autoscale.py` decide. It only reads, so it may be asked as often as one likes."""

from datetime import timedelta
from math import inf

from msgspec import Struct

from gallery.adapters.postgres.database import Database
from gallery.admin.autoscale import Load, Rule, Rules, decide
from gallery.jobs.workers import LOST_AFTER

LOST_GRACE = timedelta(seconds=60)  # within which a lost worker is expected back: somebody restarts it
BUSY_WINDOW = timedelta(seconds=60)  # of which it is seen how much went into work
SELECT_LOAD = """
    WITH worker AS (SELECT *, ended_at IS NULL AND seen_at > now() - $1::interval AS counts FROM worker),
         due AS (SELECT next_attempt_at AS at FROM image
                 WHERE work = 'due' AND deleted_at IS NULL AND next_attempt_at <= now())
    SELECT (SELECT count(*) FROM worker WHERE counts) AS workers,
           (SELECT count(*) FROM worker WHERE counts AND seen_at > now() - $2::interval) AS alive,
           extract(epoch FROM now() - (SELECT max(started_at) FROM worker WHERE counts))::float AS joined,
           extract(epoch FROM now() - (SELECT max(seen_at) FROM worker WHERE NOT counts))::float AS left,
           (SELECT coalesce(sum(concurrency), 0) FROM worker WHERE counts) AS places,
           (SELECT extract(epoch FROM sum(duration))::float FROM timeline
            WHERE at > now() - $3::interval AND stage IN ('ready', 'failed')) AS worked,
           (SELECT count(*) FROM due) AS waiting,
           extract(epoch FROM now() - (SELECT min(at) FROM due))::float AS oldest,
           (SELECT paused_at IS NOT NULL FROM installation) AS paused
"""


class ScaleView(Struct, frozen=True, rename="camel"):
    """How many workers there should be (`wanted`), and why. `workers` are those that count: alive, or just lost.

    `busy` is the part of their time that went into images in the last minute.
    """

    wanted: int
    rule: Rule
    reason: str
    workers: int
    alive: int
    waiting: int
    busy: float
    oldest_seconds: float
    paused: bool
    min: int
    max: int


class Scaler:
    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    async def advise(self) -> ScaleView:
        """Raises `DatabaseUnavailable`: then nobody should change anything."""
        async with self._database.primary() as db:
            (seen,) = await db.fetch(SELECT_LOAD, LOST_GRACE, LOST_AFTER, BUSY_WINDOW)
        load = Load(
            workers=seen["workers"],
            waiting=seen["waiting"],
            oldest_seconds=seen["oldest"] or 0.0,
            busy=_busy_ratio(seen["worked"] or 0.0, seen["places"]),
            since_joined=inf if seen["joined"] is None else seen["joined"],
            since_left=inf if seen["left"] is None else seen["left"],
            paused=seen["paused"],
        )
        decision = decide(load, self._rules)
        return ScaleView(
            wanted=decision.wanted,
            rule=decision.rule,
            reason=decision.reason,
            workers=load.workers,
            alive=seen["alive"],
            waiting=load.waiting,
            busy=round(load.busy, 3),
            oldest_seconds=round(load.oldest_seconds, 3),
            paused=load.paused,
            min=self._rules.min,
            max=self._rules.max,
        )


def _busy_ratio(busy_seconds: float, slots: int) -> float:
    """The part of the time of all places that went into images, of those that were settled lately."""
    return min(1.0, busy_seconds / (BUSY_WINDOW.total_seconds() * slots)) if slots else 0.0
