"""Doing many things side by side."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from gallery.background import end

T = TypeVar("T")


async def together(steps: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """What `steps` return, in their order. The first failure ends the others and is raised as it is."""
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await end(*tasks)
