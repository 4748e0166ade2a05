"""A call of the store: its span, its time-out, and each failure as one of Gallery's errors."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError

from gallery.adapters.objects.failures import classify
from gallery.errors import (
    NoRoom,
    ObjectNotFound,
    ObjectStoreRefused,
    ObjectStoreUnavailable,
    ObjectTaken,
    describe_error,
)
from gallery.local_disk.space import DISK_FULL_ERRNOS
from gallery.ops import metrics, tracing

T = TypeVar("T")


@contextmanager
def translate_errors(key: str) -> Iterator[None]:
    """Raises `ObjectNotFound`, `ObjectTaken`, `NoRoom`, `ObjectStoreRefused` or `ObjectStoreUnavailable`."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise ObjectNotFound(key=key) from error
    except (AlreadyExistsError, FileExistsError) as error:
        raise ObjectTaken(key=key) from error
    except (BaseError, OSError, TimeoutError) as error:
        failure = classify(error)
        (metrics.REFUSED if failure.permanent else metrics.UNAVAILABLE).add("objects")
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            raise NoRoom(key=key, cause=describe_error(error)) from error
        kind = ObjectStoreRefused if failure.permanent else ObjectStoreUnavailable
        raise kind(key=key, cause=failure.sentence) from error


def span(operation: str, key: str, count: int = 1) -> AbstractContextManager[tracing.Span]:
    return tracing.span(f"objects {operation}", "CLIENT", gallery__object__key=key, gallery__object__count=count)


async def next_item(key: str, items: AsyncIterator[T], timeout: float) -> T | None:  # noqa: ASYNC109  of each item
    """The next of a store's answers, or `None` at their end."""
    with translate_errors(key):
        async with asyncio.timeout(timeout):
            return await anext(items, None)
