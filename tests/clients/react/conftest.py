"""A browser that opens scenes of React, and another client of the same Gallery."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from playwright.async_api import Browser

from browsers import chromium
from react_pages import PAGES, ReactPage, bundle, new_page

OpenPage: TypeAlias = Callable[..., Awaitable[ReactPage]]
MakeBundle: TypeAlias = Callable[[int], Awaitable[Path]]


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def script_of(tmp_path_factory) -> MakeBundle:
    """The script of the pages, with this version of React."""
    folder = tmp_path_factory.mktemp("react")
    made: dict[int, Path] = {}

    async def script(react: int) -> Path:
        if react not in made:
            made[react] = await bundle(PAGES / "browser.jsx", folder, react)
        return made[react]

    return script


@pytest.fixture
async def open_page(browser: Browser, script_of: MakeBundle) -> AsyncIterator[OpenPage]:
    """Opens scenes of a Gallery at a URL; `prepare` is called with the page before, `context` has options of it."""
    async with AsyncExitStack() as stack:

        async def open_scene(
            url: str, scene: str, react: int = 19, prepare: Any = None, context: Any = None, **props: Any
        ) -> ReactPage:
            page = await new_page(browser, url, await script_of(react), **(context or {}))
            stack.push_async_callback(page.page.context.close)
            stack.push_async_callback(page.page.unroute_all, behavior="ignoreErrors")
            if prepare:
                await prepare(page.page)
            return await page.open(scene, **props)

        yield open_scene


@pytest.fixture
async def http(stack) -> AsyncIterator[httpx.AsyncClient]:
    """Another client of the same Gallery."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        yield client


@pytest.fixture
def tag() -> str:
    """Of this test's images: the Gallery is shared with other tests."""
    return f"react-{uuid.uuid4().hex[:8]}"
