"""Images in PostgreSQL. Each race is decided by one statement whose condition names the expected state.

All times are the database's, so workers' clocks need not agree. Every change of an image raises its `version`. Every
claim raises its `attempt`, and a worker changes only a row that still has its attempt. `work_state` is `due` while the
image waits for a worker and `claimed` while a worker has it. `status` follows, but a READY image stays READY meanwhile.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TypeAlias

import msgspec
from asyncpg import Point, Record
from msgspec import UNSET

from gallery.access.model import Owner
from gallery.adapters.postgres.database import Connection
from gallery.images.model import COLUMNS, Edit, Focus, Image, ImageId, from_row
from gallery.jobs.pause import NOT_PAUSED
from gallery.rendering.rendered import Rendered

ALL_COLUMNS = ", ".join(COLUMNS)
ExpectedVersions: TypeAlias = Sequence[int] | None  # any of them; `None` is any version

# --- calls of clients -----------------------------------------------------------------------------------------------

MAX_QUEUE_POSITION = 10_000  # counted per owner; image 10,001 and later of one owner share this last position


def queue_position(owner: str, lane: str) -> str:
    """SQL for the position of a new image among those of its owner that wait in that lane."""
    return f"""(
        SELECT count(*) + 1 FROM (
            SELECT FROM image WHERE owner = {owner} AND lane = {lane} AND work_state = 'due' AND deleted_at IS NULL
            LIMIT {MAX_QUEUE_POSITION - 1}
        ) AS backlog
    )"""


FIND_DUPLICATE = f"SELECT {ALL_COLUMNS} FROM image WHERE owner = $1 AND sha256 = $2 AND deleted_at IS NULL"
FIND_BY_CONTENT = "SELECT sha256, id FROM image WHERE owner = $1 AND sha256 = ANY($2::text[]) AND deleted_at IS NULL"
MAKE_DUE = """
    status = CASE status WHEN 'READY' THEN 'READY' ELSE 'PENDING' END, work_state = 'due',
    version = version + 1, updated_at = now(), error_code = NULL, error_message = NULL,
    strikes = 0, losses = 0, deferrals = 0, next_attempt_at = now(), enqueued_at = now(), dropped_at = NULL
"""
REVIVE = f"""
    UPDATE image SET {MAKE_DUE} WHERE id = $1 AND status = 'FAILED' AND deleted_at IS NULL RETURNING {ALL_COLUMNS}
"""
REPROCESS = f"""
    UPDATE image AS i SET {MAKE_DUE},
        lane = CASE status WHEN 'READY' THEN 'maintenance' ELSE lane END,
        queue_position = {queue_position("i.owner", "CASE i.status WHEN 'READY' THEN 'maintenance' ELSE i.lane END")}
    WHERE id = $1 AND ($2::text IS NULL OR owner = $2) AND work_state IS NULL AND deleted_at IS NULL
    RETURNING {ALL_COLUMNS}
"""
REPROCESS_OUTDATED = f"""
    UPDATE image AS i SET {MAKE_DUE}, lane = 'maintenance',
        queue_position = {queue_position("i.owner", "'maintenance'")}
    WHERE id = ANY($1::uuid[]) AND status = 'READY' AND work_state IS NULL AND deleted_at IS NULL
      AND recipe IS DISTINCT FROM $2
    RETURNING {ALL_COLUMNS}
"""
STORED_BYTES = "SELECT bytes FROM storage WHERE owner = $1"
FIND = f"SELECT {ALL_COLUMNS} FROM image WHERE id = $1 AND deleted_at IS NULL"
FIND_MANY = f"""
    SELECT {ALL_COLUMNS} FROM image JOIN unnest($1::uuid[]) WITH ORDINALITY AS wanted (id, position) USING (id)
    WHERE deleted_at IS NULL ORDER BY position
"""
EDIT = f"""
    UPDATE image SET title = coalesce($3, title), description = coalesce($4, description), alt = coalesce($5, alt),
                     tags = coalesce($6, tags), focus = CASE WHEN $7 THEN $8::point ELSE focus END,
                     version = version + 1, updated_at = now()
    WHERE id = $1 AND ($2::text IS NULL OR owner = $2) AND deleted_at IS NULL
      AND ($9::integer[] IS NULL OR version = ANY($9))
    RETURNING {ALL_COLUMNS}
"""
DELETE = f"""
    UPDATE image SET deleted_at = now(), version = version + 1, updated_at = now()
    WHERE id = $1 AND ($2::text IS NULL OR owner = $2) AND deleted_at IS NULL
      AND ($3::integer[] IS NULL OR version = ANY($3))
    RETURNING {ALL_COLUMNS}
"""


async def find_duplicate(db: Connection, owner: Owner, sha256: str) -> Image | None:
    """The owner's image with these bytes."""
    return _image_or_none(await db.fetchrow(FIND_DUPLICATE, owner, sha256))


async def find_by_content(db: Connection, owner: Owner, digests: Collection[str]) -> dict[str, ImageId]:
    """The owner's images with these SHA-256, by their SHA-256; those that it does not have are left out."""
    rows = await db.fetch(FIND_BY_CONTENT, owner, list(digests))
    return {row["sha256"]: ImageId(str(row["id"])) for row in rows}


async def revive(db: Connection, image: ImageId) -> Image | None:
    """Make a FAILED image PENDING again, as if it were new; `None` for any other status."""
    return _image_or_none(await db.fetchrow(REVIVE, image))


async def reprocess(db: Connection, image: ImageId, owner: Owner | None) -> Image | None:
    """Make the image due again, as if it were new. A READY image stays READY and waits in the maintenance lane.

    `None` if the owner (or, with `None`, any owner) has no such image, or it is in flight.
    """
    return _image_or_none(await db.fetchrow(REPROCESS, image, owner))


async def reprocess_outdated(db: Connection, images: Sequence[ImageId], recipe_version: str) -> list[Image]:
    """Make those of the images due that are READY by another recipe and not in flight. Returns them."""
    return [from_row(row) for row in await db.fetch(REPROCESS_OUTDATED, images, recipe_version)]


async def stored_bytes(db: Connection, owner: Owner) -> int:
    """The bytes of all the owner's originals. Exact after an upload's insert in the same transaction, whose lock on the
    sum makes the owner's next upload wait for the commit.
    """
    return await db.fetchval(STORED_BYTES, owner) or 0


async def find(db: Connection, image: ImageId) -> Image | None:
    return _image_or_none(await db.fetchrow(FIND, image))


async def find_many(db: Connection, images: Sequence[ImageId]) -> list[Image]:
    """Those that exist, in this order."""
    return [from_row(row) for row in await db.fetch(FIND_MANY, images)]


async def edit(
    db: Connection, image: ImageId, owner: Owner | None, edit: Edit, versions: ExpectedVersions
) -> Image | None:
    """The changed image; `None` if the owner (or, with `None`, any owner) has none with this id and these versions."""
    focus = None if edit.focus is UNSET else point(edit.focus)
    fields = (edit.title, edit.description, edit.alt, edit.tags, edit.focus is not UNSET, focus)
    return _image_or_none(await db.fetchrow(EDIT, image, owner, *fields, versions))


async def delete(db: Connection, image: ImageId, owner: Owner | None, versions: ExpectedVersions) -> Image | None:
    return _image_or_none(await db.fetchrow(DELETE, image, owner, versions))


# --- calls of workers -----------------------------------------------------------------------------------------------

MARK_NOT_ENQUEUED = "UPDATE image SET enqueued_at = '-infinity' WHERE id = $1 AND work_state = 'due'"
CLAIM = f"""
    UPDATE image SET status = CASE status WHEN 'READY' THEN 'READY' ELSE 'PROCESSING' END, work_state = 'claimed',
                     attempt = attempt + 1, version = version + 1, updated_at = now(),
                     lease_until = now() + $2::interval, worker = $3,
                     losses = CASE work_state WHEN 'claimed' THEN losses + 1 ELSE 0 END
    WHERE id = $1 AND deleted_at IS NULL
      AND (work_state = 'due' AND next_attempt_at <= now() OR work_state = 'claimed' AND lease_until <= now())
      AND {NOT_PAUSED}
    RETURNING {ALL_COLUMNS}
"""
TIME_UNTIL_DUE = """
    SELECT CASE work_state WHEN 'due' THEN next_attempt_at ELSE lease_until END - now() FROM image
    WHERE id = $1 AND deleted_at IS NULL AND work_state IS NOT NULL
"""
LEASE_HELD = "id = $1 AND attempt = $2 AND work_state = 'claimed' AND deleted_at IS NULL"
RENEW = f"UPDATE image SET lease_until = now() + $3::interval WHERE {LEASE_HELD} RETURNING true"
SETTLE_READY = f"""
    UPDATE image SET status = 'READY', work_state = NULL, version = version + 1, updated_at = now(), lease_until = NULL,
                     strikes = 0, losses = 0, deferrals = 0, error_code = NULL, error_message = NULL,
                     rendered_attempt = attempt, recipe = $3, width = $4, height = $5, renditions = $6,
                     thumbhash = $7, color = $8, exif = $9
    WHERE {LEASE_HELD} RETURNING {ALL_COLUMNS}
"""
SETTLE_FAILED = f"""
    UPDATE image SET status = CASE status WHEN 'READY' THEN 'READY' ELSE 'FAILED' END, work_state = NULL,
                     version = version + 1, updated_at = now(), lease_until = NULL,
                     error_code = CASE status WHEN 'READY' THEN NULL ELSE $3 END,
                     error_message = CASE status WHEN 'READY' THEN NULL ELSE $4 END
    WHERE {LEASE_HELD} RETURNING {ALL_COLUMNS}
"""
RESCHEDULE = f"""
    UPDATE image SET status = CASE status WHEN 'READY' THEN 'READY' ELSE 'PENDING' END, work_state = 'due',
                     version = version + 1, updated_at = now(), lease_until = NULL, strikes = $3, deferrals = $4,
                     next_attempt_at = now() + $5::interval, enqueued_at = now() + $5::interval
    WHERE {LEASE_HELD} RETURNING {ALL_COLUMNS}
"""


async def mark_not_enqueued(db: Connection, image: ImageId) -> None:
    """Record that no job could be added for the image: the next sweep adds one."""
    await db.execute(MARK_NOT_ENQUEUED, image)


async def claim(db: Connection, image: ImageId, lease: timedelta, worker: str) -> Image | None:
    """Claim the image for `lease`, if it is due or its last lease has ended, and the queue is not paused."""
    return _image_or_none(await db.fetchrow(CLAIM, image, lease, worker))


async def time_until_due(db: Connection, image: ImageId) -> timedelta | None:
    """How long until the image may be claimed; `None` if it waits for no worker."""
    wait: timedelta | None = await db.fetchval(TIME_UNTIL_DUE, image)
    return None if wait is None else max(wait, timedelta())


async def renew(db: Connection, image: Image, lease: timedelta) -> bool:
    return bool(await db.fetchval(RENEW, image.id, image.attempt, lease))


async def settle_ready(db: Connection, image: Image, recipe_version: str, rendered: Rendered) -> Image | None:
    """Make the image READY; `None` if this worker has lost its lease."""
    row = await db.fetchrow(
        SETTLE_READY,
        image.id,
        image.attempt,
        recipe_version,
        rendered.width,
        rendered.height,
        msgspec.json.encode(rendered.renditions),
        rendered.thumbhash,
        rendered.color,
        msgspec.json.encode(rendered.exif),
    )
    return _image_or_none(row)


async def settle_failed(db: Connection, image: Image, code: str, message: str) -> Image | None:
    """Make the image FAILED, or leave it READY if it was READY before; `None` if this worker has lost its lease."""
    return _image_or_none(await db.fetchrow(SETTLE_FAILED, image.id, image.attempt, code, message))


async def reschedule(db: Connection, image: Image, strikes: int, deferrals: int, delay: timedelta) -> Image | None:
    """Make the image due again after `delay`; `None` if this worker has lost its lease."""
    return _image_or_none(await db.fetchrow(RESCHEDULE, image.id, image.attempt, strikes, deferrals, delay))


def point(focus: Focus | None) -> Point | None:
    """The focus as a value of the column."""
    return None if focus is None else Point(focus.x, focus.y)


def _image_or_none(row: Record | None) -> Image | None:
    return None if row is None else from_row(row)
