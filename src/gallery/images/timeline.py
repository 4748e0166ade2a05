"""The history of each image, which shows why an image is not ready.

An entry is added in the transaction of the change that it records, and is deleted with its image. The worker's name and
the duration of an attempt follow from the entry of its claim. All times are the database's.
"""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from gallery.adapters.postgres.database import Connection
from gallery.images.model import Image, ImageId

MAX_ENTRIES = 200  # of one image, which may be retried for days while a server is unavailable
TRIM_AFTER_ATTEMPTS = MAX_ENTRIES // 4  # an attempt adds at most four entries


class Stage(StrEnum):
    UPLOADED = "uploaded"
    UPLOADED_AGAIN = "uploaded-again"  # the same bytes as a FAILED image, which is retried
    REPROCESS = "reprocess"  # a client or an operator asked for new renditions
    PROCESSING = "processing"
    LOST = "lost"  # the worker did not renew its lease
    STRIKE = "strike"  # the renderer died, hung or ran out of memory
    DEFERRED = "deferred"  # a server was unavailable
    HANDED_BACK = "handed-back"  # the worker was stopped
    READY = "ready"
    FAILED = "failed"
    DROPPED = "dropped"  # an operator dismissed the failure


class TimelineEntry(Struct, frozen=True, rename="camel"):
    """One step. `durationMs` is the attempt's duration up to it; `code` is the problem's code, if there is one."""

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
    """Add an entry about the image's present attempt; `next_attempt_at` is when the next one may begin."""
    await _insert(db, stage, image.id, image.attempt, code, next_attempt_at, worker)
    if image.attempt > TRIM_AFTER_ATTEMPTS:
        await db.execute(TRIM, image.id, MAX_ENTRIES - 1)


async def add_claim(db: Connection, image: Image, worker: str) -> None:
    """Add the entry of a claim, and before it one for the worker that lost the image, if there is one."""
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
