"""Apps of frameworks, built and visited: their pages carry URLs of pictures that Gallery answers in the right size.

Nuxt and Astro are built by the Node of their own lock files: they need a newer one than Gallery's client does.
"""

import asyncio
import html
import io
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from PIL import Image
from playwright.async_api import Browser, expect

from browsers import chromium
from credentials import make_token
from factories import post, unique_photo, wait_until_settled
from gallery_processes import RunningGallery, free_port
from http_clients import TLS_CONTEXT
from javascript_apps import CLOSED, EXAMPLES, copy_client, gallery_for, serve_files
from kit.packages import install_npm, run
from page_actions import RENDER_TIMEOUT_MS, Visit, a_file

APPS = Path(__file__).parent / "apps"
PICTURE = re.compile(r"https?://[\w.:]+/api/v1/images/[^\s\"'<>]+")
BUILD_SECONDS = 400
PRESETS = {"GALLERY_PRESETS__SMALL": "w=480", "GALLERY_PRESETS__LARGE": "w=1600"}


async def install(app: Path) -> Path:
    """Installs what the app's lock names, and the client as it is now; returns its `node_modules`."""
    modules = await install_npm(app)
    copy_client(app)
    return modules


async def build_with_own_node(app: Path, program: str, command: str, **environment: str) -> None:
    modules = await install(app)
    node = next(modules.glob("node-linux-*/bin/node"), None)
    if node is None:
        pytest.skip("The app's Node is for Linux alone.")
    await run(node, modules / program, command, cwd=app, seconds=BUILD_SECONDS, **environment)


@pytest.fixture
async def photo(stack: RunningGallery) -> str:
    """The id of a photo of 1200 × 900 px that is READY."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        image = (await post(client, unique_photo())).json()
        assert (await wait_until_settled(client, image["id"]))["status"] == "READY"
        return str(image["id"])


async def sizes_of(page: str) -> dict[str, tuple[int, int]]:
    """Width and height of each picture of the page, by the query of its URL, as Gallery answers it."""
    urls = {html.unescape(url).rstrip(",") for url in PICTURE.findall(page)}
    async with httpx.AsyncClient(timeout=30, verify=TLS_CONTEXT) as client:
        answers = {url: await client.get(url) for url in urls}
    assert {url: answer.text for url, answer in answers.items() if answer.status_code != 200} == {}
    return {urlsplit(url).query: Image.open(io.BytesIO(answer.content)).size for url, answer in answers.items()}


def widths(sizes: dict[str, tuple[int, int]]) -> dict[str, int]:
    """The width of each picture by its query; it is the one that was asked for."""
    for query, (width, _) in sizes.items():
        assert parse_qs(query)["w"] == [str(width)], query
    return {query: width for query, (width, _) in sizes.items()}


async def test_nuxt_pages_have_pictures_of_gallery(stack, photo):
    app = APPS / "nuxt"
    await build_with_own_node(app, "nuxt/bin/nuxt.mjs", "generate", GALLERY_URL=stack.url, PHOTO=photo)
    sizes = await sizes_of((app / ".output" / "public" / "index.html").read_text())
    assert sizes["fit=cover&h=200&w=300"] == (300, 200)
    assert {"fit=cover&h=100&w=150", "format=webp&q=70&w=160", "format=jpeg&q=70&w=640"} <= sizes.keys()
    assert len(widths(sizes)) >= 8


async def test_astro_pages_have_pictures_of_gallery(stack, photo):
    app = APPS / "astro"
    await build_with_own_node(app, "astro/bin/astro.mjs", "build", GALLERY_URL=stack.url, PHOTO=photo)
    page = (app / "dist" / "index.html").read_text()
    sizes = await sizes_of(page)
    assert sizes["fit=cover&h=200&q=50&w=300"] == (300, 200)
    assert sizes["fit=cover&h=100&q=50&w=150"] == (150, 100)
    assert sizes["fit=cover&h=320&w=480"] == (480, 320)
    assert len(widths(sizes)) >= 4


async def test_next_uploads_by_a_ticket_and_shows_presets(environment, tmp_path):
    port = free_port()
    origin = f"http://localhost:{port}"
    async with gallery_for(origin, environment, tmp_path, **CLOSED, **PRESETS) as gallery:
        variables = {"NEXT_PUBLIC_GALLERY_URL": gallery.url, "GALLERY_TOKEN": make_token("shop")}
        async with next_app(port, **variables), chromium() as browser:
            visit = await visit_page(browser, origin)
            await visit.page.locator("gallery-upload input[type=file]").set_input_files(a_file("a.jpg", unique_photo()))
            shown = visit.page.locator("main > img")
            await shown.wait_for(timeout=RENDER_TIMEOUT_MS)
            await visit.page.wait_for_function("document.querySelector('main > img').naturalWidth > 0")
            assert (await shown.evaluate("img => img.currentSrc")).endswith("/picture?preset=small")
            srcset = str(await shown.get_attribute("srcset"))
            assert re.findall(r"\?(\S+) (640w|1920w)", srcset) == [
                ("dpr=2&preset=small", "640w"),
                ("dpr=2&preset=large", "1920w"),
            ]
            await visit.page.screenshot(path=tmp_path / "page.png")
            assert await visit.find_errors() == []


async def test_vue_uploads_and_shows_private_photos(environment, tmp_path):
    app, site = EXAMPLES / "vue", tmp_path / "site"
    site.mkdir()
    modules = await install(app)
    with serve_files(site) as origin:
        async with gallery_for(origin, environment, tmp_path / "gallery", **CLOSED) as gallery, chromium() as browser:
            build = ("node", modules / "vite" / "bin" / "vite.js", "build", "--outDir", site, "--emptyOutDir")
            await run(*build, cwd=app, VITE_GALLERY_URL=gallery.url)
            visit = await visit_page(browser, f"{origin}/index.html", token=make_token("maya"))
            await visit.page.get_by_label("Add photos").set_input_files(a_file("lake.jpg", unique_photo()))
            await visit.page.wait_for_function("document.images[0]?.naturalWidth > 0", timeout=RENDER_TIMEOUT_MS)
            await expect(visit.page.get_by_text("lake.jpg: ready")).to_be_visible(timeout=RENDER_TIMEOUT_MS)
            await visit.page.screenshot(path=tmp_path / "page.png")
            assert await visit.find_errors() == []


async def visit_page(browser: Browser, url: str, token: str = "") -> Visit:
    page = await browser.new_page(viewport={"width": 1000, "height": 760})
    await page.add_init_script(f"window.violations = []; sessionStorage.token = {token!r}")
    visit = Visit(page)
    await page.goto(url)
    return visit


@asynccontextmanager
async def next_app(port: int, **environment: str) -> AsyncIterator[None]:
    """The example, built and serving."""
    app = EXAMPLES / "next"
    program = ("node", await install(app) / "next" / "dist" / "bin" / "next")
    given = {"NEXT_TELEMETRY_DISABLED": "1", **environment}
    await run(*program, "build", cwd=app, seconds=BUILD_SECONDS, **given)
    serving = await asyncio.create_subprocess_exec(
        *program, "start", "--port", str(port), cwd=app, env={**os.environ, **given}, start_new_session=True
    )
    try:
        async with asyncio.timeout(60), httpx.AsyncClient(verify=TLS_CONTEXT) as client:
            while not await answers(client, f"http://localhost:{port}/"):
                assert serving.returncode is None
                await asyncio.sleep(0.1)
        yield
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        await serving.wait()


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False
