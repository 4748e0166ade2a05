"""The statements on the table `picture`: pictures made on demand, and claims of those that are being made.

A claim reserves the key of the picture's object: one statement writes both rows, so that there is no time in between.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from gallery.adapters.postgres.database import Connection
from gallery.images import object_rows
from gallery.images.model import ImageId

MAX_STRIKES = 3
TOUCH_AFTER = timedelta(hours=1)  # so that a picture in use costs one write in that time
FORGET_CLAIMS_AFTER = timedelta(hours=1)  # after which a picture that ended renderers may be tried again

FIND = """
    SELECT image_id, digest, key, width, height, size, claim, strikes,
        coalesce(lease_until > now(), false) AS being_made, used_at < now() - $3::interval AS untouched
    FROM picture JOIN unnest($1::uuid[], $2::text[]) AS wanted (image_id, digest) USING (image_id, digest)
"""
CLAIM = """
    WITH claimed AS (
        INSERT INTO picture (image_id, digest, claim, lease_until) VALUES ($1, $2, $3, now() + $4::interval)
        ON CONFLICT (image_id, digest) DO UPDATE SET claim = $3, lease_until = excluded.lease_until, used_at = now()
        WHERE picture.key IS NULL AND picture.strikes < $5 AND coalesce(picture.lease_until <= now(), true)
        RETURNING image_id
    )
    INSERT INTO object (key, image_id, remove_after) SELECT $6, image_id, now() + $7::interval FROM claimed
    RETURNING true
"""
RENEW = """
    UPDATE picture SET lease_until = now() + $4::interval
    WHERE image_id = $1 AND digest = $2 AND claim = $3 AND key IS NULL AND lease_until IS NOT NULL
"""
GIVE_UP = f"""
    WITH given_up AS (
        UPDATE picture SET lease_until = NULL, strikes = strikes + $5
        WHERE image_id = $2 AND digest = $3 AND claim = $4 AND key IS NULL RETURNING claim
    ) {object_rows.RELEASE_WHERE.format(condition="key = $6 AND EXISTS (SELECT FROM given_up)", period="$1")}
"""
# The image is locked before the picture, as a delete does: in another order they could wait for each other.
KEEP = f"""
    WITH living AS (SELECT FROM image WHERE id = $1 AND deleted_at IS NULL FOR SHARE),
    claimed AS (
        SELECT FROM picture
        WHERE image_id = $1 AND digest = $2 AND claim = $3 AND key IS NULL AND EXISTS (SELECT FROM living) FOR UPDATE
    ),
    kept AS (
        UPDATE object SET remove_after = NULL WHERE key = $4 AND {object_rows.RESERVED} AND EXISTS (SELECT FROM claimed)
        RETURNING key
    )
    UPDATE picture SET key = kept.key, width = $5, height = $6, size = $7, lease_until = NULL, used_at = now()
    FROM kept WHERE image_id = $1 AND digest = $2 RETURNING true
"""
TOUCH = """
    UPDATE picture SET used_at = now() WHERE (image_id, digest) IN (
        SELECT image_id, digest FROM picture
        JOIN unnest($1::uuid[], $2::text[]) AS used (image_id, digest) USING (image_id, digest)
        WHERE used_at < now() - $3::interval FOR UPDATE OF picture SKIP LOCKED
    )
"""
RELEASE_EVICTED = object_rows.RELEASE_WHERE.format(condition="key IN (SELECT key FROM evicted)", period="$1")
FORGET = f"WITH evicted AS (DELETE FROM picture WHERE key = $2 RETURNING key) {RELEASE_EVICTED}"
EVICT_OF_IMAGE = f"""
    WITH evicted AS (
        DELETE FROM picture WHERE image_id = $2 AND digest IN (
            SELECT digest FROM picture WHERE image_id = $2 AND key IS NOT NULL ORDER BY used_at DESC, digest OFFSET $3
            FOR UPDATE SKIP LOCKED
        ) RETURNING key
    ) {RELEASE_EVICTED}
"""
EVICT = f"""
    WITH evicted AS (
        DELETE FROM picture USING (
            SELECT image_id, digest, sum(size) OVER (ORDER BY used_at, image_id, digest) - size AS bytes_before FROM (
                SELECT image_id, digest, size, used_at FROM picture WHERE key IS NOT NULL ORDER BY used_at LIMIT $3
                FOR UPDATE SKIP LOCKED
            ) AS longest_unused
        ) AS candidate
        WHERE picture.image_id = candidate.image_id AND picture.digest = candidate.digest AND picture.key IS NOT NULL
          AND candidate.bytes_before < (SELECT bytes - $2 FROM picture_total)
        RETURNING picture.key
    ) {RELEASE_EVICTED}
"""
FORGET_CLAIMS = """
    DELETE FROM picture WHERE (image_id, digest) IN (
        SELECT image_id, digest FROM picture
        WHERE used_at < now() - $1::interval AND key IS NULL AND coalesce(lease_until <= now(), true)
        ORDER BY used_at LIMIT $2 FOR UPDATE SKIP LOCKED
    )
"""


class PictureId(NamedTuple):
    """A picture among all: its image, and the digest of what was asked for."""

    image: ImageId
    digest: str


class PictureRow(Struct, frozen=True):
    """A row: kept if it has a `key`; `untouched` means that its time of use is older than `TOUCH_AFTER`."""

    key: str | None
    width: int | None
    height: int | None
    size: int
    claim: str
    strikes: int = 0
    being_made: bool = False
    untouched: bool = False


async def find(db: Connection, pictures: Collection[PictureId]) -> dict[PictureId, PictureRow]:
    """The rows of those that are kept, being made, or have failed; the kept ones count as used now."""
    rows = await db.fetch(FIND, *_columns(pictures), TOUCH_AFTER)
    found = {PictureId(image, digest): PictureRow(*values) for image, digest, *values in rows}
    used = [picture for picture, row in found.items() if row.key and row.untouched]
    if used:
        await db.execute(TOUCH, *_columns(used), TOUCH_AFTER)
    return found


async def claim(db: Connection, picture: PictureId, claim_id: UUID, lease: timedelta, key: str) -> bool:
    """Whether this process may make the picture now, until the lease ends, and put it under `key`, which is reserved.
    False if it is kept, if another process makes it, or if it has ended `MAX_STRIKES` renderers.
    """
    period = object_rows.RESERVATION_PERIOD
    return bool(await db.fetchval(CLAIM, *picture, claim_id, lease, MAX_STRIKES, key, period))


async def renew(db: Connection, picture: PictureId, claim_id: UUID, lease: timedelta) -> None:
    await db.execute(RENEW, *picture, claim_id, lease)


async def give_up(db: Connection, picture: PictureId, claim_id: UUID, key: str, *, strike: bool = False) -> None:
    """End a claim without a picture, and release its key."""
    await db.execute(GIVE_UP, object_rows.MAX_PUT_DURATION, *picture, claim_id, int(strike), key)


async def keep(db: Connection, picture: PictureId, claim_id: UUID, key: str, sides: tuple[int, int], size: int) -> bool:
    """Keep the picture whose object is stored under `key`. False if the image was deleted, if another process has made
    the picture meanwhile, or if the object is being removed: then the key is released.
    """
    if await db.fetchval(KEEP, *picture, claim_id, key, *sides, size):
        return True
    await object_rows.release_keys(db, [key])
    return False


async def forget(db: Connection, key: str) -> None:
    """The picture is no longer kept: its object is missing or damaged."""
    await db.execute(FORGET, object_rows.MAX_PUT_DURATION, key)


async def evict_of_image(db: Connection, image: ImageId, max_pictures: int) -> None:
    """Keep no more than so many pictures of the image: the longest unused go."""
    await db.execute(EVICT_OF_IMAGE, object_rows.MAX_PUT_DURATION, image, max_pictures)


async def evict(db: Connection, limit: int, *, max_bytes: int) -> None:
    """Keep no more than so many bytes in all: the longest unused go, at most `limit` now. Forgets old claims, too."""
    await db.execute(EVICT, object_rows.MAX_PUT_DURATION, max_bytes, limit)
    await db.execute(FORGET_CLAIMS, FORGET_CLAIMS_AFTER, limit)


def _columns(pictures: Collection[PictureId]) -> tuple[list[ImageId], list[str]]:
    return [picture.image for picture in pictures], [picture.digest for picture in pictures]
