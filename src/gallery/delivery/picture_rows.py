"""Finds the rows of pictures on demand: kept ones in the memory of this process, all others in the database.

What is asked for while a statement is under way goes into the next one, together: a flood of requests for new pictures
has one statement at a time, on one connection.

A kept row is used again for the lifetime of a cached answer at most, as the row of an image is. It needs no token: a
picture never changes, and one that was evicted meanwhile is found to be missing when its object is read.
"""

import asyncio
import time
from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from gallery.adapters.postgres.database import Database
from gallery.delivery import picture_store
from gallery.delivery.picture_store import PictureId, PictureRow
from gallery.settings import CacheSettings

MAX_ROWS = 10_000  # of 1 kB each

Rows: TypeAlias = dict[PictureId, PictureRow]


class Batch(NamedTuple):
    """Pictures that one statement will look for."""

    wanted: set[PictureId]
    rows: "asyncio.Task[Rows]"


class KeptRow(NamedTuple):
    row: PictureRow
    valid_until: float  # `time.monotonic`


class PictureRows:
    def __init__(self, database: Database, settings: CacheSettings) -> None:
        self._database = database
        self._lifetime = settings.seconds if settings.enabled and settings.response_bytes > 0 else 0
        self._kept: OrderedDict[PictureId, KeptRow] = OrderedDict()
        self._reading = asyncio.Lock()
        self._next: Batch | None = None

    async def find(self, picture: PictureId) -> PictureRow | None:
        """The row, perhaps from memory if it is kept. Raises `DatabaseUnavailable`."""
        kept = self._kept.get(picture)
        if kept is not None and time.monotonic() < kept.valid_until:
            self._kept.move_to_end(picture)
            return kept.row
        return await self.read(picture)

    async def read(self, picture: PictureId) -> PictureRow | None:
        """The row as it is in the database now. A kept one counts as used. Raises `DatabaseUnavailable`."""
        if self._next is None:
            wanted: set[PictureId] = set()
            self._next = Batch(wanted, asyncio.create_task(self._read_in_turn(wanted), name="picture rows"))
        self._next.wanted.add(picture)
        rows = await asyncio.shield(self._next.rows)  # a client that leaves does not cancel it for the others
        row = rows.get(picture)
        if row is not None and row.key:
            self.keep(picture, row)
        return row

    def keep(self, picture: PictureId, row: PictureRow) -> None:
        self._kept[picture] = KeptRow(row, time.monotonic() + self._lifetime)
        self._kept.move_to_end(picture)
        if len(self._kept) > MAX_ROWS:
            self._kept.popitem(last=False)

    async def forget(self, picture: PictureId, row: PictureRow) -> None:
        """The object of a kept picture is missing or damaged: it is no longer kept. Raises `DatabaseUnavailable`."""
        self._kept.pop(picture, None)
        async with self._database.writing() as db:
            await picture_store.forget(db, str(row.key))

    async def _read_in_turn(self, wanted: set[PictureId]) -> Rows:
        async with self._reading:
            self._next = None  # what is asked for from now on needs the next statement
            async with self._database.primary() as db:
                return await picture_store.find(db, wanted)
