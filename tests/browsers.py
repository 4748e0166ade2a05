"""The browser of the tests."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

HEADLESS = "chromium-headless-shell"  # the same engine for a fifth of the CPU a page
NAMES = (HEADLESS, "chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STILL: dict[str, Any] = {"reduced_motion": "reduce"}  # for a context: animations cost half of a page's CPU
EXPECT_TIMEOUT_MS = 20_000  # ms until a page shows what it should, on a busy machine

expect.set_options(timeout=EXPECT_TIMEOUT_MS)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Skips the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("No browser found; install Chromium.")
    async with async_playwright() as playwright:
        arguments = ARGUMENTS if Path(path).name == HEADLESS else [*ARGUMENTS, "--headless=new"]
        browser = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        await browser.close()
