"""Pages with a `<gallery-upload>`, on the origin of a running Gallery."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.async_api import Browser, Route

import javascript_client
import photos
from browsers import STILL, chromium
from element_pages import POLICY, RECORD, UploadPage, html, serve_kit

OpenUploads: TypeAlias = Callable[..., Awaitable[UploadPage]]


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def kit() -> Path:
    """The modules that are published."""
    return javascript_client.build()


@pytest.fixture
async def open_uploads(browser: Browser, stack, kit) -> AsyncIterator[OpenUploads]:
    """Opens a page with this body at Gallery's origin; at the end it has no error and has broken no policy."""
    opened: list[UploadPage] = []

    async def open_page(
        body: str = "<gallery-upload multiple></gallery-upload>",
        root: str = 'lang="en"',
        policy: str = POLICY,
        url: str = stack.url,
        **context: Any,
    ) -> UploadPage:
        contexts = await browser.new_context(viewport={"width": 900, "height": 900}, **{**STILL, **context})
        page = await contexts.new_page()
        await page.add_init_script(RECORD)
        await serve_kit(page, url, kit)

        async def answer(route: Route) -> None:
            headers = {"Content-Security-Policy": policy}
            await route.fulfill(content_type="text/html", body=html(body, root), headers=headers)

        await page.route(f"{url}/page*", answer)
        visit = UploadPage(page)
        opened.append(visit)
        await page.goto(f"{url}/page")
        return visit

    yield open_page
    for visit in opened:
        assert await visit.find_errors() == []
        await visit.page.context.close()


@pytest.fixture
async def uploads(open_uploads: OpenUploads) -> UploadPage:
    """A page with an element for many photos."""
    return await open_uploads()


@pytest.fixture
def a_photo() -> Callable[..., dict[str, Any]]:
    """Makes files for a dialog: photos that have not been uploaded before."""

    def make(name: str = "lake.jpg", seed: int = 1, size: int = 0) -> dict[str, Any]:
        picture = photos.a_jpeg(640, 480, seed, comment=secrets.token_hex(8).encode())
        return {"name": name, "mimeType": "image/jpeg", "buffer": picture + bytes(max(0, size - len(picture)))}

    return make
