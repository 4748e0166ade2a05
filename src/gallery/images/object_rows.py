"""The keys of an image's objects. A key is written down before anything is put under it, so nothing can be forgotten.

A new key is to be removed after a while; only what an image comes to need is kept. Removing begins by marking the
keys, and what is marked cannot be kept any more: an object is either whole and kept, or gone.

A put may go on after its sender has given it up, or has tried again. So a key that is released young, or before it was
kept, is removed twice: at once, and again when nothing can be under way any more. Only then it is forgotten.
"""

from collections.abc import Sequence
from datetime import timedelta

from gallery.adapters.postgres.database import Connection, Database
from gallery.images.model import ImageId

RESERVATION_PERIOD = timedelta(hours=1)  # far more than any upload or attempt takes
MAX_PUT_DURATION = timedelta(minutes=5)  # longer than a put goes on that its sender has given up

RESERVE = """
    INSERT INTO object (key, image_id, attempt, remove_after)
    SELECT unnest($1::text[]), $2, $3, now() + $4::interval
"""
KEEP = """
    UPDATE object SET remove_after = NULL
    WHERE key = ANY($1) AND remove_after > '-infinity' AND remove_again_at IS NULL RETURNING key
"""
RELEASE = """
    UPDATE object SET remove_after = least(remove_after, now() + $3::interval),
        remove_again_at = CASE WHEN remove_after IS NOT NULL OR created_at > now() - $4::interval
                             THEN coalesce(remove_again_at, now() + $4::interval) END
    WHERE image_id = $1 AND ($2::integer IS NULL OR attempt = $2) AND remove_after IS DISTINCT FROM '-infinity'
      AND ($2 IS NULL OR NOT EXISTS (SELECT FROM image WHERE id = $1 AND rendered_attempt = $2))
"""
NOT_FROZEN = "NOT EXISTS (SELECT FROM backup WHERE frozen_until > now())"  # a backup is copying what its snapshot shows
MARK_FOR_REMOVAL = f"""
    UPDATE object SET remove_after = '-infinity'
    WHERE key IN (SELECT key FROM object WHERE remove_after <= now() AND {NOT_FROZEN} ORDER BY remove_after LIMIT $1)
      AND remove_after <= now()  -- asked again of a row that somebody else has changed meanwhile
    RETURNING key
"""
FINISH_REMOVAL = """
    WITH forgotten AS (
        DELETE FROM object WHERE key = ANY($1) AND (remove_again_at IS NULL OR remove_again_at <= now())
    )
    UPDATE object SET remove_after = remove_again_at WHERE key = ANY($1) AND remove_again_at > now()
"""


async def reserve(database: Database, image: ImageId, attempt: int | None, keys: Sequence[str]) -> None:
    """Write down keys that are about to be put, durably: a PostgreSQL that dies in this moment must not forget them."""
    async with database.primary() as db:
        await db.execute(RESERVE, keys, image, attempt, RESERVATION_PERIOD)


async def keep(db: Connection, keys: Sequence[str]) -> bool:
    """Keep the objects for good, in the transaction that makes an image need them. False if one is going already."""
    return len(await db.fetch(KEEP, keys)) == len(keys)


async def release(db: Connection, image: ImageId, attempt: int | None = None, after: timedelta = timedelta()) -> None:
    """Nobody needs the image's objects (of that attempt) any more; they go `after` that time."""
    await db.execute(RELEASE, image, attempt, after, MAX_PUT_DURATION)


async def mark_for_removal(db: Connection, limit: int) -> list[str]:
    """The next keys whose objects are to be removed now; none while a backup has them frozen."""
    return [row["key"] for row in await db.fetch(MARK_FOR_REMOVAL, limit)]


async def finish_removal(db: Connection, keys: Sequence[str]) -> None:
    """The objects are removed; those that may still arrive are to be removed again."""
    await db.execute(FINISH_REMOVAL, keys)
