"""What uploads in several requests must leave behind once they have ended and their day is over: nothing."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from factories import expire_pending_puts, stored_keys
from gallery.adapters.objects import file_parts
from gallery.settings import Settings
from gallery.uploads import cleaning
from gallery.wiring import Gallery, open_gallery

FUTURE = datetime(2100, 1, 1, tzinfo=UTC)
SWEEPS_SECONDS = 30
EXPIRE = "UPDATE upload SET expires_at = now(), held_until = now() WHERE expires_at > now()"
ROWS = "SELECT 'row of ' || id FROM upload UNION ALL SELECT 'part of ' || upload_id FROM upload_part"
RESERVED = "SELECT 'reserved: ' || key FROM object WHERE remove_after = 'infinity'"
ORIGINALS = "SELECT 'original/' || id FROM image WHERE deleted_at IS NULL"
HIDDEN_FOLDERS = {".uploads", ".spool"}


async def check_nothing_left(environment: Mapping[str, str]) -> None:
    """A day later, after some sweeps: no rows, parts, tails, hidden files or unfinished uploads at the store.

    `environment` leads to the servers without proxies. Workers may sweep at the same time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "UNKNOWN_AFTER", -timedelta(minutes=1))  # also what was begun a moment ago
        patch.setattr(cleaning, "UNKNOWN_EVERY_SECONDS", 0.0)
        patch.setattr(file_parts, "ABANDONED_SECONDS", -60.0)  # also of a process that was killed as it began an upload
        async with open_gallery(Settings.read(environment)) as gallery:
            async with gallery.database.primary() as db:
                await db.execute(EXPIRE)
            deadline = asyncio.get_running_loop().time() + SWEEPS_SECONDS
            while found := await _leftovers(gallery):
                assert asyncio.get_running_loop().time() < deadline, found
                await gallery.sweep.run()
                await expire_pending_puts(gallery)


async def _leftovers(gallery: Gallery) -> set[str]:
    async with gallery.database.primary() as db:
        rows = {text for statement in (ROWS, RESERVED) for (text,) in await db.fetch(statement)}
        originals = {key for (key,) in await db.fetch(ORIGINALS)}
    unfinished = {
        f"unfinished: {found.key}"
        async for batch in gallery.objects.multipart.list_unfinished(FUTURE)
        for found in batch
    }
    keys = {key for key in await stored_keys(gallery) if key.startswith(("original/", "tails/"))}
    files = gallery.settings.data_path / "objects"
    hidden = {str(path) for path in files.rglob("*") if path.is_file() and HIDDEN_FOLDERS & set(path.parts)}
    return rows | unfinished | (keys - originals) | hidden
