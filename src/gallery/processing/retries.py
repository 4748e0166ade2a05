"""Pauses before a worker tries again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog

from gallery.errors import DatabaseUnavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")

INITIAL_BACKOFF = timedelta(seconds=1)
MAX_BACKOFF = timedelta(seconds=60)
DATABASE_RETRY_SECONDS = (0.5, 1.0)  # a random pause in this range


async def retry_while_unavailable(step: Callable[[], Awaitable[T]]) -> T:
    """Returns the result of `step`, repeated while the database is unavailable; `step` checks the lease itself."""
    while True:
        try:
            return await step()
        except DatabaseUnavailable as error:
            log.warning("image.database_unavailable", error=str(error))
        await asyncio.sleep(random.uniform(*DATABASE_RETRY_SECONDS))  # noqa: S311  no secret


def backoff(failures: int) -> timedelta:
    """Exponential backoff with jitter, so that images that failed together are not retried together."""
    longest: timedelta = min(INITIAL_BACKOFF * 2 ** min(failures, 10), MAX_BACKOFF)
    return longest * random.uniform(0.5, 1)  # noqa: S311  no secret
