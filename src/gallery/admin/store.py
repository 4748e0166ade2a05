"""SQL for the operators' views. Every list has a limit, every count a limit or an index."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gallery.adapters.postgres.database import Connection
from gallery.admin.model import FailureView, MinuteView, ReasonView, RunningView
from gallery.images.model import Lane
from gallery.images.timeline import Stage, TimelineEntry
from gallery.paging import Cursor, Page

MAX_RUNNING = 200
MAX_COUNTED = 10_000
MAX_TIMELINE_ENTRIES = 12  # of the timeline of one failure

NOW = "SELECT now()"
BACKLOG = """
    SELECT lane, count(*) FILTER (WHERE next_attempt_at <= now()) AS due,
           count(*) FILTER (WHERE next_attempt_at > now()) AS later,
           extract(epoch FROM now() - min(next_attempt_at) FILTER (WHERE next_attempt_at <= now()))::float AS oldest
    FROM image WHERE work_state = 'due' AND deleted_at IS NULL GROUP BY lane
"""
RUNNING = """
    SELECT id, owner, title, lane, attempt, worker, lease_until, lease_until <= now() AS overdue,
           (SELECT max(at) FROM timeline
            WHERE image_id = image.id AND attempt = image.attempt AND stage = 'processing') AS since
    FROM image WHERE work_state = 'claimed' AND deleted_at IS NULL ORDER BY lease_until LIMIT $1
"""
THROUGHPUT = """
    SELECT minute, count(stage) FILTER (WHERE stage = 'ready') AS ready,
           count(stage) FILTER (WHERE stage = 'failed') AS failed
    FROM generate_series(date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()),
                         interval '1 minute') AS minute
    LEFT JOIN timeline ON at >= minute AND at < minute + interval '1 minute' AND stage IN ('ready', 'failed')
    GROUP BY minute ORDER BY minute
"""
OPEN_FAILURE = "status = 'FAILED' AND deleted_at IS NULL AND dropped_at IS NULL"
REASONS = f"""
    SELECT code, count(*) AS count FROM (
        SELECT error_code AS code FROM image WHERE {OPEN_FAILURE} ORDER BY updated_at DESC, id DESC LIMIT $1
    ) AS newest GROUP BY code ORDER BY count DESC, code
"""
FAILURES = f"""
    SELECT id, owner, title, mime_type, size, lane, error_code AS code, error_message AS message,
           updated_at AS failed_at, attempt, strikes, losses, worker
    FROM image WHERE {OPEN_FAILURE} AND ($1::text IS NULL OR error_code = $1)
      AND ($2::timestamptz IS NULL OR (updated_at, id) < ($2, $3::uuid))
    ORDER BY updated_at DESC, id DESC LIMIT $4
"""
TIMELINES = """
    SELECT image, entry.* FROM unnest($1::uuid[]) AS image, LATERAL (
        SELECT id, at, stage, attempt, worker, round(extract(epoch FROM duration) * 1000)::bigint AS duration_ms,
               code, next_attempt_at
        FROM timeline WHERE image_id = image ORDER BY id DESC LIMIT $2
    ) AS entry ORDER BY entry.id
"""
DROP = f"""
    WITH dropped AS (
        UPDATE image SET dropped_at = now() WHERE id IN (
            SELECT id FROM image
            WHERE {OPEN_FAILURE} AND ($1::uuid IS NULL OR id = $1) AND ($2::text IS NULL OR error_code = $2)
            ORDER BY updated_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
        ) RETURNING id, attempt
    )
    INSERT INTO timeline (image_id, stage, attempt) SELECT id, '{Stage.DROPPED}', attempt FROM dropped RETURNING true
"""


async def now(db: Connection) -> datetime:
    at: datetime = await db.fetchval(NOW)
    return at


async def backlog(db: Connection) -> dict[Lane, tuple[int, int, float | None]]:
    """For each lane with images: how many are due, how many later, and the longest wait of a due one in seconds."""
    return {Lane(row["lane"]): (row["due"], row["later"], row["oldest"]) for row in await db.fetch(BACKLOG)}


async def running(db: Connection) -> list[RunningView]:
    """Claimed images, ordered by the end of their lease."""
    return [RunningView(**_with_lane(row)) for row in await db.fetch(RUNNING, MAX_RUNNING)]


async def throughput(db: Connection) -> list[MinuteView]:
    """The last hour, oldest first."""
    return [MinuteView(**row) for row in await db.fetch(THROUGHPUT)]


async def reasons(db: Connection) -> list[ReasonView]:
    return [ReasonView(**row) for row in await db.fetch(REASONS, MAX_COUNTED)]


async def failures(db: Connection, code: str | None, after: Cursor | None, limit: int) -> Page[FailureView]:
    """FAILED images that were not dropped, newest first, all or those with one code."""
    at = None if after is None else datetime.fromisoformat(str(after.key))
    rows = await db.fetch(FAILURES, code, at, None if after is None else after.id, limit + 1)
    entries = await _timelines(db, [row["id"] for row in rows[:limit]])
    found = [FailureView(**_with_lane(row), timeline=entries.get(row["id"], [])) for row in rows[:limit]]
    if len(rows) <= limit:
        return Page(found)
    last = rows[limit - 1]
    return Page(found, Cursor(cursor_query(code), last["failed_at"].isoformat(), last["id"]))


def cursor_query(code: str | None) -> str:
    """The list fingerprint of a cursor of failures."""
    return f"failed:{code or ''}"


def is_cursor_key(key: object) -> bool:
    """Whether a cursor's key has the form that `failures` writes: the time of a failure."""
    try:
        at = datetime.fromisoformat(str(key))
    except ValueError:
        return False
    return at.tzinfo is UTC and at.isoformat() == key


async def drop(db: Connection, image_id: str | None, code: str | None, limit: int) -> int:
    """Takes failures off the operators' list. Returns how many."""
    return len(await db.fetch(DROP, image_id, code, limit))


async def _timelines(db: Connection, images: Sequence[str]) -> dict[str, list[TimelineEntry]]:
    found: dict[str, list[TimelineEntry]] = {}
    for row in await db.fetch(TIMELINES, images, MAX_TIMELINE_ENTRIES):
        values = {name: row[name] for name in TimelineEntry.__struct_fields__} | {"stage": Stage(row["stage"])}
        found.setdefault(row["image"], []).append(TimelineEntry(**values))
    return found


def _with_lane(row: Any) -> dict[str, Any]:
    return {**row, "lane": Lane(row["lane"])}
