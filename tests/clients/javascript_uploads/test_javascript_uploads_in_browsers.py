"""Uploads of the JavaScript client in Chromium: over a slow and broken network, reloads, and in two tabs."""

import asyncio
import hashlib
import os
import random
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
import pyvips
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, Request, expect

import photos
from browsers import STILL, chromium
from kit_only import kit_only

MIB = 1024 * 1024
SIZE = 20 * MIB
PHOTO_BYTES = 30_000_000


@dataclass
class Uploading:
    """A page with a queue, and its requests of uploads."""

    page: Page
    client: httpx.AsyncClient
    begun: int = 0
    offsets: list[int] = field(default_factory=list)  # of each PATCH
    devtools: CDPSession | None = None
    errors: list[str] = field(default_factory=list)

    async def load(self) -> None:
        await self.page.goto("")
        await self.page.locator("body[data-loaded]").wait_for()

    def watch(self) -> None:
        self.page.on("request", self._requested)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _requested(self, request: Request) -> None:
        self.begun += request.method == "POST" and request.url.endswith("/uploads")
        if request.method == "PATCH":
            self.offsets.append(int(request.headers["upload-offset"]))

    async def network(self, bytes_a_second: float = -1, *, offline: bool = False) -> None:
        self.devtools = self.devtools or await self.page.context.new_cdp_session(self.page)
        limits = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_a_second}
        await self.devtools.send("Network.emulateNetworkConditions", limits)

    async def choose(self, *files: Path) -> None:
        await self.page.locator("input").set_input_files(list(files))

    async def reach(self, percent: int, index: int = 0) -> None:
        """Wait until so much is sent."""
        sent = "([index, share]) => (queue.items()[index]?.sent ?? 0) >= share * queue.items()[index]?.total"
        await self.page.wait_for_function(sent, arg=[index, percent / 100])

    async def expect_ready(self, index: int = 0) -> dict:
        """The image of an item that is shown."""
        entry = self.page.locator("li").nth(index)
        await expect(entry).to_have_attribute("data-state", "ready", timeout=40_000)
        await self.page.wait_for_function(
            "(index) => document.querySelectorAll('li')[index].querySelector('img').naturalWidth", arg=index
        )
        return await self.page.evaluate("(index) => queue.items()[index].image", index)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def context(browser, page_origin, large_stack) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(base_url=f"{page_origin}?url={large_stack.url}", **STILL)
    yield context
    await context.close()


@pytest.fixture
async def uploading(context, large_stack) -> AsyncIterator[Uploading]:
    async with httpx.AsyncClient(base_url=large_stack.url, timeout=30) as client:
        uploading = Uploading(await context.new_page(), client)
        uploading.watch()
        await uploading.load()
        yield uploading
        assert uploading.errors == []


@pytest.fixture
def photo_file(tmp_path: Path) -> Path:
    """20 MiB."""
    photo = photos.a_jpeg(640, 480, comment=os.urandom(8).hex().encode())
    file = tmp_path / "Poster.jpg"
    file.write_bytes(photo + random.Random(0).randbytes(SIZE - len(photo)))
    return file


@pytest.fixture(scope="module")
def camera_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo with 30 MB of pixels, as good cameras make it."""
    pixels = np.random.default_rng().normal(128, 50, (4000, 6000, 3)).clip(0, 255).astype(np.uint8)
    picture = pyvips.Image.new_from_array(pixels)
    file = tmp_path_factory.mktemp("camera") / "DSC_0815.jpg"
    picture.write_to_file(str(file), Q=92, subsample_mode="off")
    assert PHOTO_BYTES <= file.stat().st_size < 60 * MIB, file.stat().st_size
    return file


@kit_only
async def test_a_photo_of_30_mb_survives_a_cut_connection_and_a_reload_and_is_shown_live(uploading, camera_photo):
    page, size = uploading.page, camera_photo.stat().st_size
    await uploading.network(16 * MIB)
    await uploading.choose(camera_photo)
    await uploading.reach(15)
    await uploading.network(offline=True)
    await asyncio.sleep(0.5)
    assert await page.locator("li").get_attribute("data-state") == "uploading", "it waits for the network"
    await uploading.network(16 * MIB)
    await uploading.reach(60)
    await uploading.load()
    assert await page.locator("li").count() == 0
    await uploading.network()
    await uploading.choose(camera_photo)
    image = await uploading.expect_ready()
    assert image["sha256"] == hashlib.sha256(camera_photo.read_bytes()).hexdigest()
    assert (image["size"], image["duplicate"]) == (size, False)
    assert uploading.begun == 1
    assert uploading.offsets == sorted(uploading.offsets)
    assert uploading.offsets[-1] > 0
    assert await page.evaluate("Object.keys(localStorage)") == []


async def test_browsers_tell_the_progress_of_a_small_file(uploading, photo_file):
    """That of large ones shows above: less than a chunk is seen."""
    photo_file.write_bytes(photo_file.read_bytes()[: 4 * MIB])
    await uploading.network(4 * MIB)
    await uploading.page.evaluate("document.querySelector('input').onchange = null")
    await uploading.choose(photo_file)
    progress = await uploading.page.evaluate("""async () => {
      const [progress, [file]] = [[], document.querySelector("input").files];
      await gallery.upload(file, { onProgress: (sent, total) => progress.push([sent, total]) });
      return progress;
    }""")
    assert len({sent for sent, _ in progress}) > 5
    assert progress == sorted(progress)
    assert progress[-1] == [4 * MIB, 4 * MIB]


@kit_only
async def test_a_browser_that_is_offline_waits_longer_than_a_call_is_tried(uploading, photo_file):
    await uploading.network(4 * MIB)
    await uploading.choose(photo_file)
    await uploading.reach(10)
    await uploading.network(offline=True)
    await asyncio.sleep(3)  # longer than `retryForMs`
    assert await uploading.page.locator("li").get_attribute("data-state") == "uploading"
    await uploading.network()
    await uploading.expect_ready()
    assert uploading.begun == 1


@kit_only
async def test_a_connection_that_is_dead_without_a_word_is_given_up_after_a_minute(uploading, photo_file):
    await uploading.page.clock.install()
    await uploading.load()
    await uploading.page.route("**/api/v1/uploads/*", lambda _: None, times=1)  # nothing is sent, and nothing fails
    await uploading.choose(photo_file)
    async with asyncio.timeout(20):
        while not uploading.offsets:
            await asyncio.sleep(0.05)
    await uploading.page.clock.run_for(58_000)
    assert uploading.offsets == [0]
    await uploading.page.clock.run_for(4_000)
    await uploading.expect_ready()
    assert uploading.offsets[:2] == [0, 0]


async def test_two_tabs_with_the_same_file_end_with_one_image(uploading, context, photo_file):
    other = Uploading(await context.new_page(), uploading.client)
    other.watch()
    await other.load()
    for tab in (uploading, other):
        await tab.network(8 * MIB)
    await uploading.choose(photo_file)
    await uploading.reach(20)
    await other.choose(photo_file)
    images = [await tab.expect_ready() for tab in (uploading, other)]
    assert images[0]["id"] == images[1]["id"]
    assert uploading.begun + other.begun == 1
    assert await uploading.page.evaluate("Object.keys(localStorage)") == []
    assert other.errors == []


@kit_only
async def test_without_secure_context_an_upload_goes_on_after_a_reload(uploading, photo_file):
    """Over plain HTTP browsers have no `crypto.subtle` and no `crypto.randomUUID`."""
    await uploading.page.add_init_script("""
        Object.defineProperty(Crypto.prototype, "subtle", { value: undefined });
        Object.defineProperty(Crypto.prototype, "randomUUID", { value: undefined });
    """)
    await uploading.load()
    await uploading.network(8 * MIB)
    await uploading.choose(photo_file)
    await uploading.reach(50)
    await uploading.load()
    await uploading.network()
    await uploading.choose(photo_file)
    image = await uploading.expect_ready()
    assert image["sha256"] == hashlib.sha256(photo_file.read_bytes()).hexdigest()
    assert uploading.begun == 1


async def test_a_file_that_changes_while_it_is_sent_is_an_error_of_the_file(uploading, photo_file):
    await uploading.network(4 * MIB)
    await uploading.choose(photo_file)
    await uploading.reach(10)
    photo_file.write_bytes(b"something else")
    entry = uploading.page.locator("li")
    await expect(entry).to_have_attribute("data-state", "failed", timeout=20_000)
    await expect(entry).to_have_text(re.compile("file_not_readable"))


async def test_a_folder_that_is_dropped_as_a_file_is_an_error_of_the_file(uploading, tmp_path):
    await uploading.page.evaluate("""() => {
      document.body.style.height = "400px";
      ondragover = (event) => event.preventDefault();
      ondrop = (event) => (event.preventDefault(), queue.add(event.dataTransfer.files));
    }""")
    devtools = await uploading.page.context.new_cdp_session(uploading.page)
    data = {"items": [], "files": [str(tmp_path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        await devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 100, "y": 100, "data": data})
    await expect(uploading.page.locator("li")).to_have_text(re.compile("file_not_readable"))
