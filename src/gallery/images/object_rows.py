"""The rows of the objects in the store. A key is reserved in its row before its object is put, so no object is lost.

A reserved key expires; only `keep` makes it permanent. A removal first marks the rows, and a marked key cannot be kept
any more: an object is either complete and kept, or removed.

The store may still receive a put after its sender has timed out or retried. So a key that is released young, or before
it was kept, is removed twice: at once, and again after `MAX_PUT_DURATION`. Only then is its row deleted.
"""

from collections.abc import Sequence
from datetime import timedelta

from gallery.adapters.postgres.database import Connection, Database
from gallery.images.model import ImageId

RESERVATION_PERIOD = timedelta(hours=1)  # far longer than any upload or attempt takes
MAX_PUT_DURATION = timedelta(minutes=5)  # longer than a put goes on after its sender has timed out

RESERVE = """
    INSERT INTO object (key, image_id, attempt, remove_after)
    SELECT unnest($1::text[]), $2, $3, now() + $4::interval
"""
# The object may still be kept. `coalesce`, so that the row is found by its key, never through the index of removals.
RESERVED = "coalesce(remove_after > '-infinity', false) AND remove_again_at IS NULL"
KEEP = f"UPDATE object SET remove_after = NULL WHERE key = ANY($1) AND {RESERVED} RETURNING key"
RELEASE = """
    UPDATE object SET remove_after = least(remove_after, now() + $3::interval),
        remove_again_at = CASE WHEN remove_after IS NOT NULL OR created_at > now() - $4::interval
                             THEN coalesce(remove_again_at, now() + $4::interval) END
    WHERE image_id = $1 AND ($2::integer IS NULL OR attempt = $2) AND remove_after IS DISTINCT FROM '-infinity'
      AND ($2 IS NULL OR NOT EXISTS (SELECT FROM image WHERE id = $1 AND rendered_attempt = $2))
"""
RELEASE_WHERE = """
    UPDATE object SET remove_after = least(remove_after, now()),
        remove_again_at = CASE WHEN remove_after IS NOT NULL OR created_at > now() - {period}::interval
                             THEN coalesce(remove_again_at, now() + {period}::interval) END
    WHERE {condition} AND remove_after IS DISTINCT FROM '-infinity'
"""
RELEASE_KEYS = RELEASE_WHERE.format(condition="key = ANY($1)", period="$2")
NOT_FROZEN = "NOT EXISTS (SELECT FROM backup WHERE frozen_until > now())"  # a backup is copying what its snapshot shows
MARK_FOR_REMOVAL = f"""
    UPDATE object SET remove_after = '-infinity'
    WHERE key IN (SELECT key FROM object WHERE remove_after <= now() AND {NOT_FROZEN} ORDER BY remove_after LIMIT $1)
      AND remove_after <= now()  -- checked again, for a row that another transaction has changed meanwhile
    RETURNING key
"""
FINISH_REMOVAL = """
    WITH forgotten AS (
        DELETE FROM object WHERE key = ANY($1) AND (remove_again_at IS NULL OR remove_again_at <= now())
    )
    UPDATE object SET remove_after = remove_again_at WHERE key = ANY($1) AND remove_again_at > now()
"""


async def reserve(database: Database, image: ImageId, attempt: int | None, keys: Sequence[str]) -> None:
    """Add rows for keys that are about to be put, and wait until they are on disk, so that a crash cannot lose them."""
    async with database.primary() as db:
        await db.execute(RESERVE, keys, image, attempt, RESERVATION_PERIOD)


async def keep(db: Connection, keys: Sequence[str]) -> bool:
    """Make the keys permanent, in the transaction whose image needs them. False if one is being removed already."""
    return len(await db.fetch(KEEP, keys)) == len(keys)


async def release(db: Connection, image: ImageId, attempt: int | None = None, after: timedelta = timedelta()) -> None:
    """The image no longer needs its objects (or those of `attempt`): the sweep removes them `after` that time."""
    await db.execute(RELEASE, image, attempt, after, MAX_PUT_DURATION)


async def release_keys(db: Connection, keys: Sequence[str]) -> None:
    """These objects are no longer needed: the sweep removes them."""
    if keys:
        await db.execute(RELEASE_KEYS, keys, MAX_PUT_DURATION)


async def mark_for_removal(db: Connection, limit: int) -> list[str]:
    """The next keys whose objects are due for removal; none while a backup has frozen them."""
    return [row["key"] for row in await db.fetch(MARK_FOR_REMOVAL, limit)]


async def finish_removal(db: Connection, keys: Sequence[str]) -> None:
    """Delete the rows of removed objects; an object that may still arrive is scheduled for a second removal."""
    await db.execute(FINISH_REMOVAL, keys)
