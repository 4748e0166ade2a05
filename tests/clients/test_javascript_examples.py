"""The examples `plain` and `react`, in Chromium with a real Gallery: as their READMEs say, but for the ports."""

import asyncio
import os
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from browsers import chromium
from credentials import make_token
from factories import unique_photo
from javascript_apps import CLOSED, EXAMPLES, copy_client, gallery_for, serve_files
from page_actions import RENDER_TIMEOUT_MS, Visit, a_file

REACT = EXAMPLES / "react"
PLAIN = EXAMPLES / "plain"
MAX_OWN_LINES = 120
IS_SHOWN = "img => img.complete && img.naturalWidth > 0"
NO_VIOLATIONS = "window.violations = []"

needs_packages = pytest.mark.skipif(
    not (REACT / "node_modules" / "vite").is_dir(), reason="needs npm, then tests/install-tools"
)


@pytest.fixture
async def visit():
    """A page in Chromium."""
    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 1000, "height": 760})
        await page.add_init_script(NO_VIOLATIONS)
        yield Visit(page)


async def finish(visit: Visit, tmp_path: Path) -> None:
    await visit.page.screenshot(path=tmp_path / "page.png")
    assert await visit.find_errors() == []


async def expect_shown(img: Locator) -> None:
    await img.wait_for(timeout=RENDER_TIMEOUT_MS)
    handle = await img.element_handle()
    await img.page.wait_for_function(IS_SHOWN, arg=handle, timeout=RENDER_TIMEOUT_MS)


@needs_packages
async def test_react_uploads_and_shows_private_photos(visit, environment, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    with serve_files(site) as origin:
        async with gallery_for(origin, environment, tmp_path / "gallery", **CLOSED) as gallery:
            await build_react(site, gallery.url)
            token = make_token("maya")
            await visit.page.add_init_script(f"sessionStorage.token = {token!r}")
            await visit.page.goto(f"{origin}/index.html")
            await visit.page.get_by_label("Add photos").set_input_files(
                [a_file("lake.jpg", unique_photo()), a_file("hut.jpg", unique_photo())]
            )
            photo = visit.page.get_by_role("listitem").filter(has_text="lake").locator("img")
            await expect_shown(photo)
            assert "sig=" in await photo.evaluate("img => img.currentSrc")
            await expect(visit.page.locator(".uploads li")).to_have_count(0)
            hut = visit.page.get_by_role("listitem").filter(has_text="hut")
            await expect_shown(hut.locator("img"))
            await hut.get_by_role("button", name="Delete").click()
            await expect(hut).to_have_count(0)
            await finish(visit, tmp_path)


async def build_react(out: Path, gallery_url: str) -> None:
    copy_client(REACT)
    process = await asyncio.create_subprocess_exec(
        "node", "node_modules/vite/bin/vite.js", "build", "--outDir", str(out), "--emptyOutDir", "--logLevel=warn",
        cwd=REACT, env={**os.environ, "VITE_GALLERY_URL": gallery_url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()


async def test_plain_uploads_and_shows_photos_without_a_build(visit, environment, tmp_path):
    site = tmp_path / "site"
    (site / "node_modules" / "gallery-client").mkdir(parents=True)
    copy_client(site)
    with serve_files(site) as origin:
        async with gallery_for(origin, environment, tmp_path / "gallery") as gallery:
            page = (PLAIN / "index.html").read_text()
            (site / "index.html").write_text(page.replace("http://127.0.0.1:3000", gallery.url))
            await visit.page.goto(f"{origin}/index.html")
            chooser = visit.page.locator("gallery-upload input[type=file]")
            await chooser.set_input_files(a_file("lake.jpg", unique_photo()))
            await expect_shown(visit.page.locator("#photos img"))
            await finish(visit, tmp_path)


def test_the_react_example_is_short():
    lines = sum(len(path.read_text().splitlines()) for path in (REACT / "src").glob("*.jsx"))
    assert lines <= MAX_OWN_LINES


@pytest.mark.parametrize("example", sorted(path.parent for path in EXAMPLES.glob("*/package.json")))
def test_each_example_has_a_short_readme(example):
    assert len((example / "README.md").read_text().splitlines()) <= 14
