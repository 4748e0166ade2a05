"""Moves a library to another object store, beside the running system: every object that a row knows, hashed on its way.

A pass may be interrupted and begun again; what is there already costs one look. The last pass closes the old store.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import structlog
from msgspec import Struct

from gallery.adapters.objects.content import Served
from gallery.adapters.objects.store import Objects, closed
from gallery.adapters.postgres.database import Database
from gallery.errors import CannotStart, ForeignStore, ObjectNotFound
from gallery.maintenance.copying import AT_ONCE, Copied, Fault, Wanted, copy_all

log = structlog.get_logger(__name__)

BATCH = 500
PROGRESS = 500  # objects between two words of it

KNOWN = """
    SELECT key, object.image_id::text AS image, object.attempt, size, sha256, mime_type, original_name
    FROM object LEFT JOIN image ON image.id = object.image_id
    WHERE key > $1 AND remove_after IS DISTINCT FROM '-infinity'
      AND ($2::timestamptz IS NULL OR object.created_at >= $2)
    ORDER BY key LIMIT $3
"""
NEEDED = "SELECT EXISTS (SELECT FROM object WHERE key = $1 AND remove_after IS NULL)"
INSTALLATION = "SELECT id::text FROM installation"


class Moved(Struct, frozen=True, rename="camel"):
    """How far it is: objects copied, their bytes, those that were there already, those that could not be copied."""

    copied: int = 0
    bytes: int = 0
    already: int = 0
    failed: int = 0

    def and_(self, one: Copied | Fault) -> "Moved":
        if isinstance(one, Fault):
            return Moved(self.copied, self.bytes, self.already, self.failed + 1)
        if one.already:
            return Moved(self.copied, self.bytes, self.already + 1, self.failed)
        return Moved(self.copied + 1, self.bytes + one.size, self.already, self.failed)

    @property
    def seen(self) -> int:
        return self.copied + self.already + self.failed


class Unmoved(Struct, frozen=True):
    """An object that could not be copied: `object_not_found`, `object_damaged` or `object_taken`."""

    key: str
    code: str


class Moving:
    def __init__(self, database: Database, source: Objects, target: Objects) -> None:
        self._database = database
        self._source = source
        self._target = target

    async def run(
        self, since: datetime | None = None, *, at_once: int = AT_ONCE, close: bool = False
    ) -> AsyncIterator[Unmoved | Moved]:
        """Copy what the target has not; of the keys that were written down since then, or of all.

        Says what could not be copied, now and then how far it is, and at last what was done. With `close`, and if
        nothing has failed, the source is nobody's from then on. Raises `CannotStart`, `ForeignStore`, `Unavailable`.
        """
        installation = await self._take_both()
        moved = Moved()
        async for one in copy_all(self._source, self._target, self._known(since), at_once):
            if isinstance(one, Fault):
                if not await self._matters(one):
                    continue
                yield Unmoved(one.key, one.error.code())
            moved = moved.and_(one)
            if moved.seen % PROGRESS == 0:
                yield moved
        if close and not moved.failed:
            await self._source.close(installation)
            log.info("objects.closed", place=self._source.place)
        yield moved

    async def _take_both(self) -> str:
        async with self._database.primary() as db:
            installation: str = await db.fetchval(INSTALLATION)
        if self._source.place == self._target.place:
            raise CannotStart(f"Objects are to move from {self._source.place} to itself.")
        owner = await self._source.owner()
        if owner not in {installation, closed(installation)}:
            raise ForeignStore(place=self._source.place, store=owner, ours=installation)
        await self._target.claim(installation, again=True)
        return installation

    async def _known(self, since: datetime | None) -> AsyncIterator[Wanted]:
        key = ""
        while True:
            async with self._database.primary() as db:
                rows = await db.fetch(KNOWN, key, since, BATCH)
            for row in rows:
                yield _wanted(row)
            if len(rows) < BATCH:
                return
            key = rows[-1]["key"]

    async def _matters(self, fault: Fault) -> bool:
        """A key may be written down before its object is put, and may have been deleted since we have read its row."""
        if not isinstance(fault.error, ObjectNotFound):
            return True
        async with self._database.primary() as db:
            return bool(await db.fetchval(NEEDED, fault.key))


def _wanted(row: Any) -> Wanted:
    if row["attempt"] is not None:
        _, _, file = row["key"].rpartition("/")
        return Wanted(row["key"], served=Served(f"image/{file.rpartition('.')[2]}", f"{row['image']}-{file}"))
    if row["mime_type"] is None:  # an upload under way, whose image is not there yet
        return Wanted(row["key"])
    served = Served(row["mime_type"], row["original_name"] or row["image"])
    return Wanted(row["key"], row["size"], row["sha256"], served)
