"""Actions of a person on the web page in a browser."""

import asyncio
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from playwright.async_api import Locator, Page, Route, expect

from factories import upload_image
from gallery.images.model import ImageId
from gallery.processing.service import Processing
from gallery.wiring import Gallery
from photos import CAMERA, a_jpeg

RENDER_TIMEOUT_MS = 30_000  # ms for a picture to be rendered on a busy machine
DATA_TRANSFER_SCRIPT = """
    ([name, base64]) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      const carried = new DataTransfer();
      carried.items.add(new File([bytes], name, { type: "image/jpeg" }));
      return carried;
    }
"""


@dataclass
class Visit:
    """A page, with its console's errors and the requests that were answered with one."""

    page: Page
    errors: list[str] = field(default_factory=list)
    failed_responses: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", lambda r: self.failed_responses.append((r.status, r.url)) if r.status >= 400 else None)
        catch_file_choosers(self.page)

    async def find_errors(self) -> list[object]:
        return [*self.errors, *self.failed_responses, *await self.page.evaluate("window.violations")]


def catch_file_choosers(page: Page) -> None:
    """From the page's beginning: `expect_file_chooser` alone asks for them beside the click, which may come first."""
    page.on("filechooser", lambda _chooser: None)


def unique_name(word: str) -> str:
    """A name that no other test uses: the gallery is shared with other tests."""
    return f"{word} {uuid.uuid4().hex[:8]}"


def a_photo(name: str, width: int = 900, height: int = 600, seed: int = 1) -> bytes:
    return a_jpeg(width, height, seed, exif=CAMERA, comment=name.encode())  # never the same bytes twice


def a_file(name: str, content: bytes, kind: str = "image/jpeg") -> dict:
    return {"name": name, "mimeType": kind, "buffer": content}


def tile(page: Page, title: str) -> Locator:
    return page.locator(".tile", has=page.get_by_role("button", name=title, exact=True))


async def choose_files(page: Page, *files: dict) -> None:
    await page.locator(".bar input[type=file]").set_input_files(list(files))


async def drop(page: Page, *paths: Path) -> None:
    """Drops a folder as the operating system does; otherwise the files have no folder entries."""
    browser = await page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await browser.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


async def expect_ready(page: Page, title: str) -> None:
    """READY, and really there: a WebP that the browser has decoded."""
    await expect(tile(page, title)).to_have_attribute("data-state", "ready", timeout=RENDER_TIMEOUT_MS)
    photo = tile(page, title).locator(".photo")
    await photo.scroll_into_view_if_needed()
    await expect(tile(page, title)).to_have_class(re.compile(r"\bloaded\b"), timeout=RENDER_TIMEOUT_MS)
    width, source = await photo.evaluate("(img) => [img.naturalWidth, img.currentSrc]")
    assert width > 0
    assert ".webp" in source


async def upload(http: httpx.AsyncClient, title: str, seed: int = 3) -> dict:
    files = {"file": (f"{title}.jpg", a_photo(title, seed=seed))}
    answer = await http.post("/api/v1/images", files=files, data={"title": title})
    return answer.json()


async def refuse_requests(page: Page, url: str, times: int, retry_after: int = 1, status: int = 503) -> list[float]:
    """Requests to `url` are refused so many times; when they came, in seconds of the event loop."""
    came: list[float] = []

    async def answer(route: Route) -> None:
        came.append(asyncio.get_running_loop().time())
        if len(came) > times:
            await route.continue_()
            return
        problem = {"status": status, "detail": "The object store is unavailable; try again later."}
        await route.fulfill(status=status, json=problem, headers={"Retry-After": str(retry_after)})

    await page.route(url, answer)
    return came


async def ready_images(gallery: Gallery, processing: Processing, *pictures: bytes) -> list[ImageId]:
    """Pictures that are READY, the last of them first on the wall."""
    images = [await upload_image(gallery, picture, title=f"Photo {number}") for number, picture in enumerate(pictures)]
    for image in images:
        await processing.process(image.id)
    return [image.id for image in images]
