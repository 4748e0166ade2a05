"""Moves a library to another object store while the system runs: copies and hashes every object that has a row.

A pass may be interrupted and started again; an object that is there already costs one request. The last pass closes
the old store.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import structlog
from msgspec import Struct

from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.store import ObjectStore, closed_marker
from gallery.adapters.postgres.database import Database
from gallery.errors import CannotStart, ForeignStore, ObjectNotFound
from gallery.maintenance.copying import MAX_CONCURRENT_COPIES, CopiedObject, CopyFailure, CopyRequest, copy_all

log = structlog.get_logger(__name__)

BATCH = 500
PROGRESS_INTERVAL = 500  # objects between two reports

KNOWN_OBJECTS = """
    SELECT key, object.image_id::text AS image, size, sha256, mime_type, original_name
    FROM object LEFT JOIN image ON image.id = object.image_id
    WHERE key > $1 AND remove_after IS DISTINCT FROM '-infinity'
      AND ($2::timestamptz IS NULL OR object.created_at >= $2)
    ORDER BY key LIMIT $3
"""
NEEDED_OBJECT = "SELECT EXISTS (SELECT FROM object WHERE key = $1 AND remove_after IS NULL)"
INSTALLATION = "SELECT id::text FROM installation"


class MigrationProgress(Struct, frozen=True, rename="camel"):
    """Objects copied, their bytes, objects that were there already, and objects that could not be copied."""

    copied: int = 0
    bytes: int = 0
    already: int = 0
    failed: int = 0

    def plus(self, result: CopiedObject | CopyFailure) -> "MigrationProgress":
        if isinstance(result, CopyFailure):
            return MigrationProgress(self.copied, self.bytes, self.already, self.failed + 1)
        if result.existed:
            return MigrationProgress(self.copied, self.bytes, self.already + 1, self.failed)
        return MigrationProgress(self.copied + 1, self.bytes + result.size, self.already, self.failed)

    @property
    def total(self) -> int:
        return self.copied + self.already + self.failed


class MigrationFailure(Struct, frozen=True):
    """An object that could not be copied: `object_not_found`, `object_damaged` or `object_taken`."""

    key: str
    code: str


class ObjectMigration:
    def __init__(self, database: Database, source: ObjectStore, target: ObjectStore) -> None:
        self._database = database
        self._source = source
        self._target = target

    async def run(
        self, since: datetime | None = None, *, concurrency: int = MAX_CONCURRENT_COPIES, close: bool = False
    ) -> AsyncIterator[MigrationFailure | MigrationProgress]:
        """Copy the objects that the target lacks: all, or those whose rows were added at `since` or later.

        Yields each failure, the progress every `PROGRESS_INTERVAL` objects, and the final progress. With `close`, and
        if there was no failure, closes the source for this installation. Raises `CannotStart`, `ForeignStore`,
        `Unavailable`.
        """
        installation = await self._claim_stores()
        progress = MigrationProgress()
        async for result in copy_all(self._source, self._target, self._known_objects(since), concurrency):
            if isinstance(result, CopyFailure):
                if not await self._is_needed(result):
                    continue
                yield MigrationFailure(result.key, result.error.code())
            progress = progress.plus(result)
            if progress.total % PROGRESS_INTERVAL == 0:
                yield progress
        if close and not progress.failed:
            await self._source.mark_closed(installation)
            log.info("objects.closed", place=self._source.location)
        yield progress

    async def _claim_stores(self) -> str:
        async with self._database.primary() as db:
            installation: str = await db.fetchval(INSTALLATION)
        if self._source.location == self._target.location:
            raise CannotStart(f"The source and the target are the same object store, {self._source.location}.")
        owner = await self._source.find_owner()
        if owner not in {installation, closed_marker(installation)}:
            raise ForeignStore(place=self._source.location, store=owner, ours=installation)
        await self._target.take_ownership(installation, reopen=True)
        return installation

    async def _known_objects(self, since: datetime | None) -> AsyncIterator[CopyRequest]:
        key = ""
        while True:
            async with self._database.primary() as db:
                rows = await db.fetch(KNOWN_OBJECTS, key, since, BATCH)
            for row in rows:
                yield _copy_request(row)
            if len(rows) < BATCH:
                return
            key = rows[-1]["key"]

    async def _is_needed(self, failure: CopyFailure) -> bool:
        """False for a missing object that is only reserved, or that was deleted after its row was read."""
        if not isinstance(failure.error, ObjectNotFound):
            return True
        async with self._database.primary() as db:
            return bool(await db.fetchval(NEEDED_OBJECT, failure.key))


def _copy_request(row: Any) -> CopyRequest:
    if not row["key"].startswith("original/"):
        _, _, file = row["key"].rpartition("/")
        return CopyRequest(
            row["key"], headers=DownloadHeaders(f"image/{file.rpartition('.')[2]}", f"{row['image']}-{file}")
        )
    if row["mime_type"] is None:  # an upload in progress, whose image has no row yet
        return CopyRequest(row["key"])
    headers = DownloadHeaders(row["mime_type"], row["original_name"] or row["image"])
    return CopyRequest(row["key"], row["size"], row["sha256"], headers)
