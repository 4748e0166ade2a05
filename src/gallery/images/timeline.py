"""What has happened to one image, so that nobody has to guess why it is not ready.

Each entry is written in the transaction of the change that it tells of, and goes with its image. A worker's name, and
how long it has had the image, follow from the entry of its claim; both clocks are the database's.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from gallery.adapters.postgres.database import Connection
from gallery.images.model import Image, ImageId

MAX_ENTRIES = 200  # entries of one image: what waits for days for a server that is away does not grow without end
TRIM_AFTER_ATTEMPTS = MAX_ENTRIES // 4  # attempts, each of which may have written that many times fewer


class Stage(StrEnum):
    UPLOADED = "uploaded"
    UPLOADED_AGAIN = "uploaded-again"  # a FAILED image, which is tried again for that
    REPROCESS = "reprocess"  # somebody has asked for it
    PROCESSING = "processing"
    LOST = "lost"  # its worker has not been heard of for a lease
    STRIKE = "strike"  # its renderer died, hung or ran out of memory
    DEFERRED = "deferred"  # something of ours was away
    HANDED_BACK = "handed-back"  # its worker was stopped
    READY = "ready"
    FAILED = "failed"
    DROPPED = "dropped"  # an operator has seen that it failed


class TimelineEntry(Struct, frozen=True, rename="camel"):
    """One step. `durationMs` is how long the attempt had taken by then; `code` says what went wrong."""

    at: datetime
    stage: Stage
    attempt: int
    worker: str | None
    duration_ms: int | None
    code: str | None
    next_attempt_at: datetime | None


INSERT = """
    INSERT INTO timeline (image_id, stage, attempt, code, next_attempt_at, worker, duration)
    SELECT $1, $2, $3, $4, $5, coalesce($6, claim.worker), now() - claim.at
    FROM (VALUES (1)) AS one LEFT JOIN LATERAL (
        SELECT worker, at FROM timeline WHERE image_id = $1 AND attempt = $3 AND stage = 'processing'
        ORDER BY id DESC LIMIT 1
    ) AS claim ON true
"""
TRIM = """
    DELETE FROM timeline WHERE image_id = $1 AND stage <> 'uploaded'
      AND id <= (SELECT id FROM timeline WHERE image_id = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)
"""
READ = """
    SELECT at, stage, attempt, worker, round(extract(epoch FROM duration) * 1000)::bigint AS duration_ms,
           code, next_attempt_at
    FROM timeline WHERE image_id = $1 ORDER BY id
"""


async def add(
    db: Connection,
    stage: Stage,
    image: Image,
    *,
    code: str | None = None,
    worker: str | None = None,
    next_attempt_at: datetime | None = None,
) -> None:
    """Add an entry about the image's present attempt; `due` is when the next one may begin."""
    await _insert(db, stage, image.id, image.attempt, code, next_attempt_at, worker)
    if image.attempt > TRIM_AFTER_ATTEMPTS:
        await db.execute(TRIM, image.id, MAX_ENTRIES - 1)


async def add_claim(db: Connection, image: Image, worker: str) -> None:
    """A worker has the image now; whoever had it before, if anybody, has been lost."""
    if image.losses:
        await _insert(db, Stage.LOST, image.id, image.attempt - 1)
    await add(db, Stage.PROCESSING, image, worker=worker)


async def read(db: Connection, image: ImageId) -> list[TimelineEntry]:
    """Oldest first."""
    return [TimelineEntry(**{**row, "stage": Stage(row["stage"])}) for row in await db.fetch(READ, image)]


async def _insert(
    db: Connection,
    stage: Stage,
    image: ImageId,
    attempt: int,
    code: str | None = None,
    next_attempt_at: datetime | None = None,
    worker: str | None = None,
) -> None:
    await db.execute(INSERT, image, stage, attempt, code, next_attempt_at, worker)
