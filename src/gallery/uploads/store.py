"""The two statements of an upload in PostgreSQL: one before its original is stored, and one after.

The second inserts the image with everything that belongs to it. The sum of the owner's bytes is counted by a trigger at
the end of that statement, and its row stays locked until the commit: so uploads of one owner wait only for each other's
commits. See docs/decisions/0113-two-statements-for-an-upload.md.
"""

from datetime import datetime

import msgspec
from msgspec import Struct

from gallery.access.model import Owner
from gallery.adapters.postgres.database import Connection
from gallery.errors import ObjectStoreUnavailable
from gallery.images.model import Image, ImageId, UploadedFile, UploadMetadata, original_key
from gallery.images.object_rows import RESERVATION_PERIOD, RESERVED
from gallery.images.store import point, queue_position
from gallery.images.timeline import Stage
from gallery.notifications.model import Event
from gallery.rendering.probe import ProbeResult
from gallery.uploads.begin_rows import under_way

RESERVE = f"""
    WITH found AS (
        SELECT EXISTS (SELECT FROM image WHERE owner = $3 AND sha256 = $4 AND deleted_at IS NULL) AS duplicate,
               CASE WHEN $6::bigint = 0 THEN 0 ELSE
                   coalesce((SELECT bytes FROM storage WHERE owner = $3), 0) + {under_way("$3")}
               END AS stored_bytes
    ), reserved AS (
        INSERT INTO object (key, image_id, remove_after) SELECT $1::text, $2::uuid, now() + $7::interval FROM found
        WHERE NOT duplicate AND ($6::bigint = 0 OR stored_bytes + $5::bigint <= $6)
        RETURNING created_at
    )
    SELECT (SELECT created_at FROM reserved) AS reserved_at, duplicate, stored_bytes FROM found
"""
ADD = f"""
    WITH reserved AS MATERIALIZED (
        SELECT key FROM object WHERE key = $16 AND {RESERVED} FOR UPDATE
    ), added AS (
        INSERT INTO image (id, owner, title, description, alt, tags, visibility, lane,
                           original_name, mime_type, size, sha256, animated, created_at, updated_at, focus,
                           queue_position)
        SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text[], $7::text, $8::text,
               $9::text, $10::text, $11::bigint, $12::text, $13::boolean, $14::timestamptz, $14,
               $18::point, {queue_position("$2", "$8")}
        FROM reserved
        ON CONFLICT (owner, sha256) WHERE deleted_at IS NULL DO NOTHING
        RETURNING id, owner, version, attempt, queue_position, next_attempt_at
    ), kept AS (
        UPDATE object SET remove_after = NULL FROM added WHERE key = $16
    ), told AS (
        INSERT INTO event (type, owner, image_id, version, data)
        SELECT $17::text, owner, id, version, $15::json FROM added
    ), entered AS (
        INSERT INTO timeline (image_id, stage, attempt) SELECT id, '{Stage.UPLOADED}', attempt FROM added
    )
    SELECT EXISTS (SELECT FROM reserved) AS reserved, queue_position, next_attempt_at
    FROM (VALUES (1)) AS one LEFT JOIN added ON true
"""


class Reservation(Struct, frozen=True):
    """`at` is the time of the reservation; `None` if there is none, because the owner has an image with the same bytes
    (`duplicate`) or the quota has no space. `stored_bytes` are those of the owner's originals and of its uploads under
    way, where there is a quota.
    """

    at: datetime | None
    duplicate: bool
    stored_bytes: int


async def reserve(
    db: Connection, image: ImageId, owner: Owner, sha256: str, size: int, quota_bytes: int
) -> Reservation:
    """Reserve the original's key for an hour, unless the owner has the same bytes or the quota (0: none) is exceeded.

    The reservation is on disk afterwards, so that a crash cannot lose it.
    """
    key = original_key(image)
    row = await db.fetchrow(RESERVE, key, image, owner, sha256, size, quota_bytes, RESERVATION_PERIOD)
    assert row is not None  # noqa: S101  the statement has always one row
    return Reservation(row["reserved_at"], row["duplicate"], row["stored_bytes"])


def new_image(
    image: ImageId, owner: Owner, metadata: UploadMetadata, file: UploadedFile, facts: ProbeResult, at: datetime
) -> Image:
    """The image as `add` will store it at that time, apart from its position in the queue."""
    return Image(
        id=image,
        owner=owner,
        title=metadata.title,
        description=metadata.description,
        alt=metadata.alt,
        tags=metadata.tags,
        visibility=metadata.visibility,
        lane=metadata.lane,
        original_name=file.name,
        mime_type=facts.mime_type,
        size=file.size,
        sha256=file.sha256,
        animated=facts.animated,
        focus=metadata.focus,
        queue_position=1,
        next_attempt_at=at,
        created_at=at,
        updated_at=at,
    )


async def add(db: Connection, image: Image, uploaded: Event) -> Image | None:
    """Insert the image, its event and the first entry of its timeline, and keep its original.

    Returns it with its position in the queue, or `None` if the owner has an image with the same bytes by now. Raises
    `ObjectStoreUnavailable` if the original is being removed already, because its put outlasted its reservation.
    """
    row = await db.fetchrow(
        ADD,
        image.id,
        image.owner,
        image.title,
        image.description,
        image.alt,
        image.tags,
        image.visibility,
        image.lane,
        image.original_name,
        image.mime_type,
        image.size,
        image.sha256,
        image.animated,
        image.created_at,
        uploaded.data,
        image.original_key,
        uploaded.type,
        point(image.focus),
    )
    assert row is not None  # noqa: S101  the statement has always one row
    if not row["reserved"]:
        raise ObjectStoreUnavailable(key=image.original_key)
    if row["queue_position"] is None:
        return None
    return msgspec.structs.replace(image, queue_position=row["queue_position"], next_attempt_at=row["next_attempt_at"])
