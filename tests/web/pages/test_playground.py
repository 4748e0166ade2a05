"""Sizes and crops of a photo tried out on the page, and their addresses copied."""

import html
import re

import httpx
import pytest
from playwright.async_api import expect

from conftest import running_application, serve_api
from gallery.wiring import open_processing
from page_actions import expect_ready, ready_images, tile
from photos import a_jpeg, opened


@pytest.fixture
async def playground(open_page, environment):
    """The dialog, opened on a photo of 1200 × 800, in a browser that may use the clipboard."""
    async with (
        running_application(environment, GALLERY_PRESETS__AVATAR="w=96&h=96&fit=cover") as (gallery, _),
        open_processing(gallery) as processing,
        serve_api(gallery) as url,
    ):
        await ready_images(gallery, processing, a_jpeg(1200, 800))
        page = (await open_page(url, permissions=["clipboard-read", "clipboard-write"])).page
        await page.goto("/")
        await expect_ready(page, "Photo 0")
        await tile(page, "Photo 0").locator(".open").click()
        await page.get_by_role("button", name="Sizes and crops…").click()
        dialog = page.locator("#playground")
        await expect(dialog.locator(".result")).to_contain_text("800 × 533 px", timeout=30_000)
        yield dialog


async def copied(dialog, button):
    await dialog.get_by_role("button", name=button).click()
    await expect(dialog.page.locator("#messages li", has_text="It is copied.")).to_be_visible()
    return await dialog.page.evaluate("navigator.clipboard.readText()")


async def test_the_controls_change_the_picture(playground):
    result = playground.locator(".result")
    await expect(result).to_contain_text(re.compile(r"AVIF · [\d,.]+ kB · \d+ ms"))
    await playground.get_by_label("Height").fill("800")
    await playground.get_by_label("Fit").select_option("cover")
    await playground.get_by_label("Format").select_option("png")
    await expect(result).to_contain_text("800 × 800 px · PNG", timeout=30_000)
    await playground.get_by_label("Rotate").select_option("90")
    await playground.get_by_label("Width").fill("100")
    await expect(result).to_contain_text("100 × 800 px", timeout=30_000)
    await playground.get_by_role("button", name="Reset").click()
    await expect(result).to_contain_text("800 × 533 px", timeout=30_000)


async def test_a_preset_takes_the_place_of_the_other_controls(playground):
    await playground.get_by_label("Preset").select_option("avatar")
    await expect(playground.locator(".result")).to_contain_text("96 × 96 px", timeout=30_000)
    await expect(playground.get_by_label("Width")).to_be_disabled()
    await playground.get_by_label("Density").select_option("2")
    await expect(playground.locator(".result")).to_contain_text("192 × 192 px", timeout=30_000)
    assert "picture?preset=avatar&dpr=2" in await copied(playground, "Copy URL")


async def test_what_is_copied_works(playground):
    await playground.get_by_label("Format").select_option("webp")
    await expect(playground.locator(".result")).to_contain_text("WEBP", timeout=30_000)
    url = await copied(playground, "Copy URL")
    markup = html.unescape(await copied(playground, "Copy HTML"))
    markdown = await copied(playground, "Copy Markdown")
    assert markdown == f"![Photo 0]({url})"
    assert re.search(r'<img src="([^"]+)"', markup)[1] == url
    second = re.search(r"(\S+) 2x", markup)[1]
    async with httpx.AsyncClient(timeout=30) as client:
        assert opened((await client.get(url)).content).size == (800, 533)
        assert opened((await client.get(second)).content).size == (1200, 800)


async def test_what_the_server_refuses_is_said(playground):
    await playground.get_by_label("Part (x,y,w,h)").fill("2000,0,10,10")
    await expect(playground.locator(".trouble")).to_contain_text("rect is outside the picture", timeout=30_000)
    await playground.get_by_label("Part (x,y,w,h)").fill("0,0,600,600")
    await expect(playground.locator(".result")).to_contain_text("600 × 600 px", timeout=30_000)
    await expect(playground.locator(".trouble")).to_be_empty()


async def test_it_can_be_closed_with_the_keyboard(playground):
    await playground.page.keyboard.press("Escape")
    await expect(playground).to_be_hidden()
    await expect(playground.page.locator("#viewer")).to_be_visible()
