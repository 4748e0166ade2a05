"""The fifteen lines of the README in an empty directory, with what is published: a large photo on a bad network."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.async_api import Page

import javascript_client
import photos
from browsers import chromium
from clients_proxy import Proxy, proxy_to
from javascript_apps import EXAMPLES, ROOT, gallery_for, serve_files

MB = 1_000_000
ADDRESS = "http://127.0.0.1:3000"
HTML = re.compile(r"^```html\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAX_LINES = 15
VITE = EXAMPLES / "react" / "node_modules" / "vite" / "bin" / "vite.js"
SHARE = "document.querySelector('progress').value"
IS_SHOWN = "document.querySelector('img').naturalWidth > 0"

needs_packages = pytest.mark.skipif(
    not VITE.is_file() or shutil.which("npm") is None, reason="needs npm, then tests/install-tools"
)
LIMIT = re.compile(r"^(GALLERY_UPLOAD__MAX_BYTES)=(\d+) .*make run$", re.MULTILINE)


def lines_of_readme() -> str:
    [page] = HTML.findall((ROOT / "README.md").read_text())
    return str(page)


def test_they_are_fifteen():
    assert len(lines_of_readme().splitlines()) <= MAX_LINES


@pytest.fixture
def large_photo(tmp_path) -> Path:
    """A grainy photo of 12 megapixels and about 30 MB."""
    grain = np.random.default_rng(7).normal(0, 45, (3000, 4000, 3))
    pixels = np.clip(np.asarray(photos.photo(4000, 3000)) + grain, 0, 255).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(pixels).save(path, quality=98, subsampling=0)
    assert 28 * MB < path.stat().st_size < 36 * MB
    return path


@pytest.fixture
async def packed(tmp_path) -> Path:
    """An empty directory with the packed client installed, and nothing else."""
    folder = tmp_path / "app"
    folder.mkdir()
    javascript_client.build()
    await run("npm", "pack", "--silent", "--pack-destination", str(folder), cwd=javascript_client.FOLDER)
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    [tarball] = folder.glob("gallery-client-*.tgz")
    await run("npm", "install", "--no-audit", "--no-fund", f"./{tarball.name}", cwd=folder)
    return folder


async def run(*command: str, cwd: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=os.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()


@needs_packages
async def test_they_upload_a_large_photo_over_a_cut_and_a_reload(packed, large_photo, environment, tmp_path):
    size = large_photo.stat().st_size
    site = packed / "dist"
    site.mkdir()
    limit = dict(LIMIT.findall((ROOT / "README.md").read_text()))
    assert limit
    with serve_files(site) as origin:
        async with (
            gallery_for(origin, environment, tmp_path / "gallery", **limit) as gallery,
            proxy_to(gallery.url) as proxy,
            chromium() as browser,
        ):
            (packed / "index.html").write_text(lines_of_readme().replace(ADDRESS, proxy.url))
            await run("node", str(VITE), "build", cwd=packed)
            page = await browser.new_page()
            failures: list[str] = []
            page.on("pageerror", lambda error: failures.append(str(error)))
            proxy.stall_after = 10 * MB
            await page.goto(f"{origin}/index.html")
            await page.locator("input").set_input_files(large_photo)
            await until_sent(proxy, 10 * MB)
            proxy.stall_after = 20 * MB
            proxy.break_all()
            await until_sent(proxy, 20 * MB)
            await page.reload()
            proxy.stall_after = None
            await page.locator("input").set_input_files(large_photo)
            await page.wait_for_function(IS_SHOWN, timeout=60_000)
            assert await page.evaluate(SHARE) == 1
            assert proxy.sent < size + 18 * MB, "each break costs one part at most"
            assert failures == []
            await page.screenshot(path=tmp_path / "page.png")
            await assert_one_image(page, proxy.url, size)


async def until_sent(proxy: Proxy, size: int) -> None:
    async with asyncio.timeout(30):
        while proxy.sent <= size:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)  # what was sent is stored


async def assert_one_image(page: Page, url: str, size: int) -> None:
    images = await page.evaluate("async (url) => (await fetch(`${url}/api/v1/images`)).json()", url)
    assert [(image["status"], image["size"], image["width"]) for image in images] == [("READY", size, 4000)]
