"""Renderers opened by their first job: a process that renders nothing has no child and no scratch directory."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple, TypeAlias

from gallery.errors import RendererUnavailable
from gallery.renderers.pool import RendererPool


class Renderers(NamedTuple):
    """A pool, and the directory below which its children may write."""

    pool: RendererPool
    scratch: Path


OpenRenderers: TypeAlias = Callable[[], AbstractContextManager[Renderers]]


class LazyRenderers:
    def __init__(self, open_renderers: OpenRenderers) -> None:
        self._open = open_renderers
        self._stack = ExitStack()
        self._opened: Renderers | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def get(self) -> Renderers:
        """Raises `CannotStart`; `RendererUnavailable` after `close`."""
        async with self._opening:
            if self._closed:
                raise RendererUnavailable(reason="this process is stopping")
            if self._opened is None:
                self._opened = await asyncio.to_thread(self._stack.enter_context, self._open())
        return self._opened

    @property
    def opened(self) -> bool:
        return self._opened is not None

    async def close(self) -> None:
        """Ends the children, with their jobs."""
        async with self._opening:
            self._closed = True
            await asyncio.to_thread(self._stack.close)
