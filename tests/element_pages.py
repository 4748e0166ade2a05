"""Pages with a `<gallery-upload>` in a browser, under a strict content security policy."""

import asyncio
import mimetypes
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, Page, Route, expect

from page_actions import RENDER_TIMEOUT_MS, catch_file_choosers

AXE = Path(__file__).parent / "supertest/node_modules/axe-core/axe.min.js"

POLICY = "default-src 'self'; img-src 'self' blob:; require-trusted-types-for 'script'"
RECORD = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (v) => violations.push(v.violatedDirective + v.blockedURI));
"""
SCRIPT = """
    import { defineGalleryUpload, german, english } from "/kit/element/index.js";
    import { createGallery } from "/kit/index.js";
    window.happened = [];
    for (const type of ["gallery-uploaded", "gallery-ready", "gallery-failed", "input", "change", "submit"])
      document.addEventListener(type, ({ detail, target }) => {
        happened.push([type, detail?.file?.name ?? null, detail?.image?.id ?? null, detail?.error?.code ?? null]);
      });
    Object.assign(window, { defineGalleryUpload, german, english, createGallery });
    if (!document.documentElement.hasAttribute("data-later")) defineGalleryUpload();
"""
STYLE = """
    body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }
    :root[data-theme=dark] { color-scheme: dark; background: #10151c; color: #e6edf3; }
    .branded { --gallery-upload-accent: #c2185b; --gallery-upload-radius: 1.75rem; }
    .branded::part(name) { letter-spacing: .02em; }
"""


@dataclass
class UploadPage:
    """A page and its one element."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        catch_file_choosers(self.page)

    @property
    def element(self) -> Locator:
        return self.page.locator("gallery-upload").first

    @property
    def rows(self) -> Locator:
        return self.element.get_by_role("listitem")

    def row(self, name: str) -> Locator:
        return self.rows.filter(has_text=name)

    def button(self, name: str) -> Locator:
        return self.element.get_by_role("button", name=name, exact=True)

    async def choose(self, *files: dict[str, Any] | Path, button: str = "Choose photos") -> None:
        async with self.page.expect_file_chooser() as chooser:
            await self.button(button).click()
        await (await chooser.value).set_files(list(files))

    async def drop(self, *paths: Path) -> None:
        """Drops files and folders on the element, as the operating system does."""
        box = await self.element.bounding_box()
        assert box is not None
        browser = await self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 30}
        for kind in ("dragEnter", "dragOver", "drop"):
            await browser.send("Input.dispatchDragEvent", {"type": kind, **at, "data": data})

    async def expect_state(self, name: str, *states: str) -> None:
        pattern = re.compile(f"^item item-({'|'.join(states)})$")
        await expect(self.row(name)).to_have_attribute("part", pattern, timeout=RENDER_TIMEOUT_MS)

    async def value(self) -> list[str]:
        return await self.element.evaluate("(element) => element.value")

    async def happened(self, *types: str) -> list[list[str | None]]:
        """The events so far, of these types."""
        events = await self.page.evaluate("happened")
        return [event for event in events if event[0] in types]

    async def wait_until(self, script: str, seconds: float = 10) -> None:
        """`wait_for_function` of the page needs `unsafe-eval`."""
        async with asyncio.timeout(seconds):
            while not await self.page.evaluate(f"() => Boolean({script})"):
                await asyncio.sleep(0.05)

    async def find_errors(self) -> list[str]:
        return [*self.errors, *await self.page.evaluate("window.violations ?? []")]


async def serve_kit(page: Page, url: str, kit: Path) -> None:
    """Puts the client's modules at `/kit` of a server's origin."""

    async def answer(route: Route) -> None:
        name = route.request.url.partition("/kit/")[2]
        if name == "page.js":
            await route.fulfill(content_type="text/javascript", body=SCRIPT)
        elif name == "page.css":
            await route.fulfill(content_type="text/css", body=STYLE)
        else:
            await route.fulfill(content_type=mimetypes.guess_type(name)[0], path=kit / name)

    await page.route(f"{url}/kit/**", answer)


def html(body: str, root: str = 'lang="en"') -> str:
    viewport = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f'{viewport}<title>Photos</title><link rel="stylesheet" href="/kit/page.css">'
    script = '<script type="module" src="/kit/page.js"></script>'
    return (
        f"<!DOCTYPE html><html {root}><head>{head}{script}</head><body><main><h1>Photos</h1>{body}</main></body></html>"
    )


def paths_of(folder: Path, photos: Sequence[bytes], stem: str = "photo") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}-{number}.jpg" for number in range(len(photos))]
    for path, photo in zip(paths, photos, strict=True):
        path.write_bytes(photo)
    return paths
