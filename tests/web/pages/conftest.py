"""A browser, and pages that record their errors."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import httpx
import pytest
from playwright.async_api import Browser

from browsers import STILL, chromium
from page_actions import Visit

RECORD_VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (v) => violations.push(v.violatedDirective + v.blockedURI));
"""


OpenPage: TypeAlias = Callable[..., Awaitable[Visit]]


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def visit(browser: Browser, stack) -> AsyncIterator[Visit]:
    """The gallery's page, loaded and listening."""
    context = await browser.new_context(base_url=stack.url, viewport={"width": 1280, "height": 860}, **STILL)
    page = await context.new_page()
    await page.add_init_script(RECORD_VIOLATIONS)
    visit = Visit(page)
    await page.goto("/")
    await page.locator("#connection[data-state=live]").wait_for()
    await page.locator("body[data-read]").wait_for()
    yield visit
    await context.close()


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Opens pages of any application, with the options of a browser's context."""
    async with AsyncExitStack() as stack:

        async def visit(url: str, **more: Any) -> Visit:
            size = {"width": 1280, "height": 900}
            context = await browser.new_context(base_url=url, viewport=size, **{**STILL, **more})
            stack.push_async_callback(context.close)
            page = await context.new_page()
            await page.add_init_script(RECORD_VIOLATIONS)
            return Visit(page)

        yield visit


@pytest.fixture
async def http(stack) -> AsyncIterator[httpx.AsyncClient]:
    """Another client of the same gallery."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        yield client
