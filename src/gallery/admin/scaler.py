"""Reads the load from the rows and calls `admin/autoscale.py`. It changes nothing."""

from datetime import timedelta
from math import inf

from msgspec import Struct

from gallery.adapters.postgres.database import Database
from gallery.admin.autoscale import Load, Rule, Rules, decide
from gallery.jobs.workers import LOST_AFTER

LOST_GRACE = timedelta(seconds=60)  # a lost worker is expected to be restarted within this time
BUSY_WINDOW = timedelta(seconds=60)  # over which `busy` is measured
SELECT_LOAD = """
    WITH worker AS (SELECT *, ended_at IS NULL AND seen_at > now() - $1::interval AS counts FROM worker),
         due AS (SELECT next_attempt_at AS at FROM image
                 WHERE work_state = 'due' AND deleted_at IS NULL AND next_attempt_at <= now())
    SELECT (SELECT count(*) FROM worker WHERE counts) AS workers,
           (SELECT count(*) FROM worker WHERE counts AND seen_at > now() - $2::interval) AS alive,
           extract(epoch FROM now() - (SELECT max(started_at) FROM worker WHERE counts))::float AS joined,
           extract(epoch FROM now() - (SELECT max(seen_at) FROM worker WHERE NOT counts))::float AS left,
           (SELECT coalesce(sum(concurrency), 0) FROM worker WHERE counts) AS slots,
           (SELECT extract(epoch FROM sum(duration))::float FROM timeline
            WHERE at > now() - $3::interval AND stage IN ('ready', 'failed')) AS worked,
           (SELECT count(*) FROM due) AS waiting,
           extract(epoch FROM now() - (SELECT min(at) FROM due))::float AS oldest,
           (SELECT paused_at IS NOT NULL FROM installation) AS paused
"""


class ScaleView(Struct, frozen=True, rename="camel"):
    """The number of workers needed (`wanted`), and why. `workers` counts live and recently lost ones.

    `busy` is the part of their time that was spent on images in the last minute.
    """

    __schema_name__ = "ScalingAdvice"

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
        """Raises `DatabaseUnavailable`; the number of workers should not be changed then."""
        async with self._database.primary() as db:
            (row,) = await db.fetch(SELECT_LOAD, LOST_GRACE, LOST_AFTER, BUSY_WINDOW)
        load = Load(
            workers=row["workers"],
            waiting=row["waiting"],
            oldest_seconds=row["oldest"] or 0.0,
            busy=_busy_ratio(row["worked"] or 0.0, row["slots"]),
            since_joined=inf if row["joined"] is None else row["joined"],
            since_left=inf if row["left"] is None else row["left"],
            paused=row["paused"],
        )
        decision = decide(load, self._rules)
        return ScaleView(
            wanted=decision.wanted,
            rule=decision.rule,
            reason=decision.reason,
            workers=load.workers,
            alive=row["alive"],
            waiting=load.waiting,
            busy=round(load.busy, 3),
            oldest_seconds=round(load.oldest_seconds, 3),
            paused=load.paused,
            min=self._rules.min,
            max=self._rules.max,
        )


def _busy_ratio(busy_seconds: float, slots: int) -> float:
    """The part of all slots' time that was spent on images settled within `BUSY_WINDOW`."""
    return min(1.0, busy_seconds / (BUSY_WINDOW.total_seconds() * slots)) if slots else 0.0
