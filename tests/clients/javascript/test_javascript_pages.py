"""The JavaScript client in a browser, in pages of another origin; and the programs that its docs show."""

import asyncio
import functools
import re
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page

import gallery_processes
import javascript_client
import photos
from browsers import chromium

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```js\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLE_URL = "http://127.0.0.1:3000"
PAGE = """<!doctype html><title>An app</title>
<script type="importmap">{"imports": {"gallery-client": "/dist/index.js"}}</script>
<input type="file" multiple><body>"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Iterator[str]:
    """A server of an app's page, and of the built client."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "dist").symlink_to(javascript_client.build())
    (folder / "index.html").write_text(PAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
async def far_gallery(origin, tmp_path_factory) -> AsyncIterator[str]:
    """The URL of a Gallery that lets that origin in."""
    environment = gallery_processes.base_environment()
    async with gallery_processes.dev(environment, tmp_path_factory.mktemp("far"), CORS_ORIGIN=origin) as running:
        yield running.url


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser, origin, far_gallery) -> AsyncIterator[Page]:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(origin)
    await page.evaluate(
        """async (url) => {
            const { createGallery } = await import("gallery-client");
            window.gallery = createGallery({ url });
            window.told = [];
            window.follow = async (options) => {
                for await (const event of gallery.events(options)) told.push(event.title);
            };
        }""",
        far_gallery,
    )
    yield page
    await context.close()


def new_photo() -> bytes:
    return photos.a_jpeg(640, 480, comment=secrets.token_hex(8).encode())


async def upload(page: Page, title: str) -> Any:
    await page.locator("input").set_input_files([{"name": "lake.jpg", "mimeType": "image/jpeg", "buffer": new_photo()}])
    return await page.evaluate(
        "(title) => gallery.upload(document.querySelector('input').files[0], { title, tags: ['far'] })", title
    )


def stream_requests(page: Page) -> list[str]:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if "stream" in request.url else None)
    return requests


async def test_a_page_uploads_waits_lists_and_sees_errors(page):
    ids = [(await upload(page, f"Far {n}"))["id"] for n in range(3)]
    found = await page.evaluate(
        """async (ids) => {
            const ready = await Promise.all(ids.map((id) => gallery.wait(id)));
            const listed = [];
            const filter = { tags: ["far"], limit: 1, sort: "createdAt" };
            for await (const { id } of gallery.images.list(filter)) listed.push(id);
            const { version } = await gallery.images.edit(ids[0], { title: "Farther" });
            const stale = gallery.images.edit(ids[0], { title: "x" }, { ifVersion: version - 1 });
            const { name, code, status, requestId } = await stale.catch((error) => error);
            const image = new Image();
            image.src = gallery.pictureUrl(ready[0], { w: 32, h: 32, fit: "cover" });
            await image.decode();
            const states = ready.map(({ status }) => status);
            return { states, listed, name, code, status, requestId, w: image.naturalWidth };
        }""",
        ids,
    )
    assert (found["states"], found["listed"], found["w"]) == (["READY"] * 3, ids, 32)
    assert (found["name"], found["code"], found["status"]) == ("GalleryError", "version_mismatch", 412)
    assert found["requestId"]


async def test_a_page_misses_no_event_while_it_is_offline(page, far_gallery):
    image = await upload(page, "0")
    requests = stream_requests(page)
    await page.evaluate("(id) => void follow({ imageId: id, types: ['image.updated'], lastEventId: '0' })", image["id"])
    edit = "([id, title]) => gallery.images.edit(id, { title })"
    await page.evaluate(edit, [image["id"], "1"])
    await page.wait_for_function("told.length === 1")
    await page.context.set_offline(True)
    other = await page.context.browser.new_context()
    there = await other.new_page()
    await there.goto(far_gallery)
    for title in ("2", "3"):
        await there.evaluate(
            """([id, title]) => fetch(`/api/v1/images/${id}`, {
                method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ title }) })""",
            [image["id"], title],
        )
    await page.context.set_offline(False)
    await page.evaluate(edit, [image["id"], "4"])
    await page.wait_for_function("told.length >= 4", timeout=10_000)
    await other.close()
    assert await page.evaluate("told") == ["1", "2", "3", "4"]
    assert len(requests) >= 2, "it does not rely on a connection from before"


async def test_a_page_that_is_shown_again_after_a_sleep_connects_again(page):
    requests = stream_requests(page)
    await page.evaluate(
        "void new Promise((resolve) => { follow({ onOpen: resolve }); }).then(() => { window.open_ = true; })"
    )
    await page.wait_for_function("window.open_")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await asyncio.sleep(0.3)
    assert len(requests) == 1
    await page.evaluate(
        """() => {
            const now = Date.now.bind(Date);
            Date.now = () => now() + 3_600_000;
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    async with asyncio.timeout(3):
        while len(requests) < 2:
            await asyncio.sleep(0.05)


async def test_the_program_of_the_readme_shows_a_picture_when_it_is_ready(browser, origin, far_gallery):
    [program] = BLOCK.findall((javascript_client.FOLDER / "README.md").read_text())
    assert program.count("\n") <= 17
    page = await browser.new_page()
    await page.goto(origin)
    open_stream = page.wait_for_event("response", lambda response: "stream" in response.url)
    script = f"<script type=module>{program.replace(EXAMPLE_URL, far_gallery)}</script>"
    await asyncio.gather(
        open_stream,
        page.evaluate("(html) => document.body.append(document.createRange().createContextualFragment(html))", script),
    )
    await asyncio.sleep(0.3)
    await page.locator("input").set_input_files([{"name": "lake.jpg", "mimeType": "image/jpeg", "buffer": new_photo()}])
    await page.locator("img").wait_for()
    await page.wait_for_function("document.querySelector('img').naturalWidth > 0")
    await page.close()


async def test_the_programs_of_the_page_in_the_docs(stack, tmp_path):
    blocks = BLOCK.findall((ROOT / "docs" / "app" / "javascript.md").read_text())
    assert len(blocks) >= 6
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "gallery-client").symlink_to(javascript_client.build().parent)
    (tmp_path / "photo.jpg").write_bytes(new_photo())
    program = tmp_path / "docs.mjs"
    program.write_text("\n".join(blocks).replace(EXAMPLE_URL, stack.url))
    code, output = await javascript_client.run_node([str(program)], {}, folder=tmp_path)
    assert (code, "Assertion failed" in output) == (0, False), output
    assert "Lake at dawn" in output
    assert "READY 640 480" in output
