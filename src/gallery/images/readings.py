"""Gauges of images and jobs: images by status, the backlog by lane, and how long its oldest image has waited.

The cost depends on the backlog, not on the size of the library: at most `MAX_COUNTED` images are counted. If there are
more, the numbers of READY and FAILED come from the planner's statistics. To count a million by status took PostgreSQL
270 ms without an index for it, to read the statistics 0.3 ms.
"""

from collections.abc import Iterable

from asyncpg import Record

from gallery.adapters.postgres.database import Connection, Database
from gallery.images.jobs import priority_range
from gallery.images.model import Lane, Status
from gallery.jobs.queue import Queue
from gallery.ops.readings import Reading, ReadingSource, Values

MAX_COUNTED = 100_000  # images that are counted one by one

IN_FLIGHT = f"""
    SELECT lane, status, work_state, count(*) AS images FROM (
        (SELECT lane, status, work_state FROM image
         WHERE work_state = 'due' AND deleted_at IS NULL LIMIT {MAX_COUNTED})
        UNION ALL
        (SELECT lane, status, work_state FROM image
         WHERE work_state = 'claimed' AND deleted_at IS NULL LIMIT {MAX_COUNTED})
    ) AS wanted GROUP BY lane, status, work_state
"""
OLDEST_DUE = """
    SELECT extract(epoch FROM now() - next_attempt_at)::double precision FROM image
    WHERE work_state = 'due' AND deleted_at IS NULL AND lane = $1 AND next_attempt_at <= now()
    ORDER BY next_attempt_at LIMIT 1
"""
STATISTICS = """
    SELECT class.reltuples AS rows, coalesce(deleted.null_frac, 1) AS kept,
           coalesce(status.most_common_vals::text::text[], '{}') AS statuses,
           coalesce(status.most_common_freqs, '{}') AS shares
    FROM pg_class AS class
    LEFT JOIN pg_stats AS deleted ON deleted.attname = 'deleted_at'
        AND deleted.tablename = class.relname AND deleted.schemaname = class.relnamespace::regnamespace::text
    LEFT JOIN pg_stats AS status ON status.attname = 'status'
        AND status.tablename = class.relname AND status.schemaname = class.relnamespace::regnamespace::text
    WHERE class.oid = 'image'::regclass
"""
SETTLED = f"""
    SELECT status, count(*) AS images FROM (
        SELECT status FROM image WHERE deleted_at IS NULL AND status IN ('READY', 'FAILED') LIMIT {MAX_COUNTED}
    ) AS settled GROUP BY status
"""


def image_readings(database: Database) -> ReadingSource:
    async def read() -> Iterable[Reading]:
        async with database.primary() as db:
            in_flight = await db.fetch(IN_FLIGHT)
            settled = await _count_settled(db)
            oldest: Values = {(lane,): await db.fetchval(OLDEST_DUE, lane) or 0.0 for lane in Lane}
        return [
            Reading(
                "images",
                f"Images by status: READY and FAILED are estimated where there are more than {MAX_COUNTED}",
                {(status,): settled.get(status, 0) + _sum(in_flight, status=status) for status in Status},
                ["status"],
            ),
            Reading(
                "backlog_images",
                f"Images that wait for a worker, by lane, up to {MAX_COUNTED}; from PostgreSQL",
                {(lane,): _sum(in_flight, lane=lane, work_state="due") for lane in Lane},
                ["lane"],
            ),
            Reading(
                "backlog_oldest_seconds",
                "Seconds that the oldest of these images has been due, by lane",
                oldest,
                ["lane"],
            ),
        ]

    return read


def queue_readings(queue: Queue) -> ReadingSource:
    async def read() -> Iterable[Reading]:
        counts = await queue.counts()
        by_lane = await queue.count_prioritized([priority_range(lane) for lane in Lane])
        jobs: Values = {("", state): n for state, n in counts.items() if state != "prioritized"}
        jobs |= {(lane, "prioritized"): n for lane, n in zip(Lane, by_lane, strict=True)}
        waiting = sum(n for state, n in counts.items() if state != "active")
        return [
            Reading("queue_jobs", "Jobs in the queue by state, prioritized ones by lane", jobs, ["lane", "state"]),
            Reading("queue_length", "Waiting and delayed jobs", {(): waiting}, datadog_name="queue.length"),
        ]

    return read


async def _count_settled(db: Connection) -> dict[str, float]:
    """The numbers of READY and FAILED images."""
    statistics = await db.fetchrow(STATISTICS)
    if statistics is None or statistics["rows"] <= MAX_COUNTED:  # -1: not yet analyzed, so there are few rows
        return {row["status"]: row["images"] for row in await db.fetch(SETTLED)}
    kept = statistics["rows"] * statistics["kept"]
    shares = dict(zip(statistics["statuses"], statistics["shares"], strict=True))
    return {status: round(kept * shares.get(status, 0)) for status in (Status.READY, Status.FAILED)}


def _sum(rows: Iterable[Record], **wanted: str) -> int:
    return sum(row["images"] for row in rows if all(row[name] == value for name, value in wanted.items()))
