"""Renews the lease of an image while a worker processes it, and cancels the work when the lease is lost."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from gallery.adapters.postgres.database import Database
from gallery.background import cancel_and_wait
from gallery.errors import DatabaseUnavailable
from gallery.images import store
from gallery.images.model import Image

log = structlog.get_logger(__name__)

T = TypeVar("T")


class LeaseLost(Exception):
    """This worker no longer has the image."""


async def run_under_lease(database: Database, image: Image, lease: timedelta, work: Coroutine[Any, Any, T]) -> T:
    """Returns the result of `work`. Raises `LeaseLost` as soon as the lease is lost."""
    working = asyncio.ensure_future(work)
    lost = asyncio.ensure_future(_renew_until_lost(database, image, lease))
    try:
        await asyncio.wait({working, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await lost
            raise LeaseLost
        return working.result()
    finally:
        await cancel_and_wait(working, lost)


async def _renew_until_lost(database: Database, image: Image, lease: timedelta) -> None:
    held = True
    while held:
        await asyncio.sleep(lease.total_seconds() / 3)
        try:
            async with database.primary() as db:
                held = await store.renew(db, image, lease)
        except DatabaseUnavailable as error:
            log.warning("image.not_renewed", image=image.id, error=str(error))  # settling checks the lease again
