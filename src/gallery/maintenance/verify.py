"""Compares all rows with the object store: finds missing and damaged objects, and objects without a row.

The store is listed once into a temporary table, and PostgreSQL computes the differences. Each one is checked again
before it is reported, since uploads and sweeps go on meanwhile. Renditions are rendered again if their original exists.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from gallery.adapters.objects.store import ObjectStore
from gallery.adapters.postgres.database import Connection, Database
from gallery.delivery import picture_store
from gallery.errors import ObjectNotFound
from gallery.images import store, timeline
from gallery.images.model import Image, ImageId, original_key
from gallery.images.outbox import Outbox
from gallery.images.timeline import Stage
from gallery.uploads import upload_rows

PREFIXES = ("original", "renditions", "pictures", "tails")
BATCH = 500
STATEMENT_TIMEOUT_SECONDS = 600.0  # for a statement over the whole library, for which no request waits
UPLOAD_GRACE = timedelta(hours=1)  # an object may be older than its row by the duration of an upload

CREATE_STORED = """
    CREATE TEMPORARY TABLE stored_object (key text PRIMARY KEY, size bigint NOT NULL, changed_at timestamptz NOT NULL)
    ON COMMIT DROP
"""
INSERT_STORED = """
    INSERT INTO stored_object SELECT * FROM unnest($1::text[], $2::bigint[], $3::timestamptz[])
    ON CONFLICT DO NOTHING
"""
MISSING = """
    SELECT object.key, object.image_id::text AS image FROM object
    WHERE remove_after IS NULL AND created_at < $1
      AND NOT EXISTS (SELECT FROM stored_object AS stored WHERE stored.key = object.key)
      AND EXISTS (SELECT FROM image WHERE id = object.image_id AND deleted_at IS NULL)
    ORDER BY object.key
"""
WRONG_SIZE = """
    SELECT stored.key, image.id::text AS image, expected.size
    FROM image CROSS JOIN LATERAL (
        SELECT 'original/' || image.id AS key, image.size::bigint AS size
        UNION ALL
        SELECT concat('renditions/', image.id, '/', rendered_attempt, '/', name, '.', format), size
        FROM jsonb_to_recordset(image.renditions) AS rendition (name text, format text, size bigint)
        UNION ALL
        SELECT picture.key, picture.size FROM picture WHERE image_id = image.id AND picture.key IS NOT NULL
    ) AS expected JOIN stored_object AS stored USING (key)
    WHERE image.deleted_at IS NULL AND stored.size <> expected.size
    ORDER BY stored.key
"""
UNKNOWN = """
    SELECT key FROM stored_object AS stored
    WHERE changed_at < $1::timestamptz - $2::interval AND NOT EXISTS (SELECT FROM object WHERE object.key = stored.key)
    ORDER BY key
"""
NEEDED_OBJECT = "SELECT EXISTS (SELECT FROM object WHERE key = $1 AND remove_after IS NULL)"
KNOWN_OBJECT = "SELECT EXISTS (SELECT FROM object WHERE key = $1)"
ORIGINALS = """
    SELECT id::text, size, sha256 FROM image
    WHERE deleted_at IS NULL AND created_at < $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3
"""


class FindingKind(StrEnum):
    MISSING_ORIGINAL = "missing-original"  # can only be restored from a backup
    MISSING_RENDITION = "missing-rendition"
    DAMAGED_ORIGINAL = "damaged-original"  # another size or hash than its upload had
    DAMAGED_RENDITION = "damaged-rendition"  # another size than in its row
    MISSING_PICTURE = "missing-picture"  # made on demand, and made again when it is requested
    DAMAGED_PICTURE = "damaged-picture"
    UNKNOWN_OBJECT = "unknown-object"
    UNKNOWN_UPLOAD = "unknown-upload"  # parts in the store, of an upload that no row knows


MISSING_KINDS = {
    "original": FindingKind.MISSING_ORIGINAL,
    "renditions": FindingKind.MISSING_RENDITION,
    "pictures": FindingKind.MISSING_PICTURE,
}
DAMAGED_KINDS = {
    "original": FindingKind.DAMAGED_ORIGINAL,
    "renditions": FindingKind.DAMAGED_RENDITION,
    "pictures": FindingKind.DAMAGED_PICTURE,
}


class Finding(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One difference. `mended`: the renditions are being rendered again, the picture on demand is made again when it is
    requested, or the unknown object or upload was removed.
    """

    found: FindingKind
    key: str
    image: ImageId | None = None
    mended: bool = False


class VerifyProgress(Struct, frozen=True, rename="camel"):
    """The number of originals that were read, and the image of the last one, after which `--after` continues."""

    checked: int
    after: ImageId


class Verify:
    def __init__(self, database: Database, objects: ObjectStore, outbox: Outbox) -> None:
        self._database = database
        self._objects = objects
        self._outbox = outbox

    async def differences(self, *, remove_unknown: bool = False) -> AsyncIterator[Finding]:
        """Compare keys and sizes in the rows with those in the store. Raises `Unavailable`."""
        async with self._database.writing() as db:
            began: datetime = await db.fetchval("SELECT now()")
            await db.execute(CREATE_STORED)
            await self._list(db)
            missing = await db.fetch(MISSING, began, timeout=STATEMENT_TIMEOUT_SECONDS)
            wrong_size = await db.fetch(WRONG_SIZE, timeout=STATEMENT_TIMEOUT_SECONDS)
            unknown = await db.fetch(UNKNOWN, began, UPLOAD_GRACE, timeout=STATEMENT_TIMEOUT_SECONDS)
        rebuilt: dict[ImageId, bool] = {}
        for row in missing:
            if await self._exists(NEEDED_OBJECT, row["key"]) and await self._objects.size(row["key"]) is None:
                yield await self._finding(MISSING_KINDS, row["key"], row["image"], rebuilt)
        for row in wrong_size:
            if await self._exists(NEEDED_OBJECT, row["key"]) and await self._objects.size(row["key"]) not in (
                None,
                row["size"],
            ):
                yield await self._finding(DAMAGED_KINDS, row["key"], row["image"], rebuilt)
        for row in unknown:
            if not await self._exists(KNOWN_OBJECT, row["key"]) and await self._objects.size(row["key"]) is not None:
                if remove_unknown:
                    await self._objects.delete([row["key"]])
                yield Finding(FindingKind.UNKNOWN_OBJECT, row["key"], mended=remove_unknown)
        async for key in self._unknown_uploads(began - UPLOAD_GRACE, remove=remove_unknown):
            yield Finding(FindingKind.UNKNOWN_UPLOAD, key, mended=remove_unknown)

    async def originals(
        self, share: float = 1.0, after: ImageId | None = None
    ) -> AsyncIterator[Finding | VerifyProgress]:
        """Read originals and compare size and SHA-256 with the rows: of all images after `after`, or a share of them.

        The ids decide which images are in a share, so a later run with the same share reads the same ones. Raises
        `Unavailable`.
        """
        async with self._database.primary() as db:
            began = await db.fetchval("SELECT now()")
        checked = 0
        while True:
            async with self._database.primary() as db:
                rows = await db.fetch(ORIGINALS, began, after, BATCH)
            for row in rows:
                if not _in_sample(row["id"], share):
                    continue
                checked += 1
                finding = await self._original(row["id"], row["size"], row["sha256"])
                if finding is not None:
                    yield finding
            if rows:
                after = rows[-1]["id"]
                yield VerifyProgress(checked, ImageId(str(after)))
            if len(rows) < BATCH:
                return

    async def _list(self, db: Connection) -> None:
        for prefix in PREFIXES:
            async for batch in self._objects.list(prefix):
                await db.execute(INSERT_STORED, *([listed[index] for listed in batch] for index in range(3)))

    async def _unknown_uploads(self, before: datetime, *, remove: bool) -> AsyncIterator[str]:
        """The keys of uploads in parts that the store has and no row."""
        async for batch in self._objects.multipart.list_unfinished(before):
            async with self._database.primary() as db:
                unknown = await upload_rows.unknown(db, batch)
            for upload in unknown:
                if remove:
                    await self._objects.multipart.abort(upload.key, upload.handle)
                yield upload.key

    async def _finding(
        self, kinds: Mapping[str, FindingKind], key: str, image: ImageId, rebuilt: dict[ImageId, bool]
    ) -> Finding:
        """Mends what can be made again from the original."""
        prefix = key.partition("/")[0]
        mended = False
        if prefix == "renditions":
            mended = await self._rebuilt(image, rebuilt)
        elif prefix == "pictures":
            async with self._database.writing() as db:
                await picture_store.forget(db, key)
            mended = True
        return Finding(kinds[prefix], key, image, mended=mended)

    async def _rebuilt(self, image: ImageId, rebuilt: dict[ImageId, bool]) -> bool:
        """Whether the image's renditions are being rendered again, which needs its original."""
        if image not in rebuilt:
            rebuilt[image] = await self._objects.size(original_key(image)) is not None and await self._rebuild(image)
        return rebuilt[image]

    async def _rebuild(self, image_id: ImageId) -> bool:
        """Make the image due, unless it is already. The sweep adds the jobs, so that they do not delay uploads."""
        async with self._database.writing() as db:
            image: Image | None = await store.reprocess(db, image_id, None)
            if image is not None:
                await timeline.add(db, Stage.REPROCESS, image, code="missing_rendition")
                await db.execute("UPDATE image SET enqueued_at = '-infinity' WHERE id = $1", image_id)
        if image is not None:
            await self._outbox.publish(image)
        return True

    async def _original(self, image: ImageId, size: int, sha256: str) -> Finding | None:
        key = original_key(image)
        try:
            read = await self._objects.digest(key)
        except ObjectNotFound:
            deleted = not await self._exists(NEEDED_OBJECT, key)  # after its row was read
            return None if deleted else Finding(FindingKind.MISSING_ORIGINAL, key, image)
        if read == (size, sha256):
            return None
        return Finding(FindingKind.DAMAGED_ORIGINAL, key, image)

    async def _exists(self, statement: str, key: str) -> bool:
        async with self._database.primary() as db:
            return bool(await db.fetchval(statement, key))


def _in_sample(image: ImageId, share: float) -> bool:
    """Whether the image belongs to this share of all, which depends on its id alone."""
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8]) < share * 2**64
