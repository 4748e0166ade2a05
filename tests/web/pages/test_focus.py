"""The focus of a photo on the page: set by a click or by the keyboard, shown, taken back and cleared."""

import pytest
from playwright.async_api import Page, expect

from conftest import running_application, serve_api
from credentials import create_api_key, with_authentication
from factories import CALLER
from gallery.access.model import Scope
from gallery.wiring import open_gallery, open_processing
from page_actions import expect_ready, ready_images, tile
from photos import a_jpeg

WHERE = "(marker) => [marker.style.getPropertyValue('--x'), marker.style.getPropertyValue('--y')].map(Number)"


@pytest.fixture
async def opened(open_page, gallery, processing):
    """The page with a photo opened, and that image's id."""
    [image] = await ready_images(gallery, processing, a_jpeg(1200, 800))
    async with serve_api(gallery) as url:
        page = (await open_page(url)).page
        await page.goto("/")
        await open_photo(page)
        yield page, image


async def open_photo(page: Page) -> None:
    await expect_ready(page, "Photo 0")
    await tile(page, "Photo 0").locator(".open").click()
    await expect(page.locator("#viewer .frame.loaded")).to_be_visible(timeout=30_000)


async def focus_of(gallery, image):
    focus = (await gallery.images.get(CALLER, image)).focus
    return focus and (focus.x, focus.y)


async def test_a_click_sets_the_focus_which_can_be_taken_back(opened, gallery):
    page, image = opened
    marker = page.locator(".marker")
    await expect(marker).to_be_hidden()
    box = await page.locator(".frame").bounding_box()
    await page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.75)
    await expect(page.locator("#messages li", has_text="The focus is set.")).to_be_visible()
    x, y = await focus_of(gallery, image)
    assert (x, y) == (pytest.approx(0.25, abs=0.01), pytest.approx(0.75, abs=0.01))
    await expect(marker).to_be_visible()
    assert await marker.evaluate(WHERE) == [x, y]
    shown = await marker.bounding_box()
    assert shown["x"] + shown["width"] / 2 == pytest.approx(box["x"] + box["width"] * 0.25, abs=2)
    assert shown["y"] + shown["height"] / 2 == pytest.approx(box["y"] + box["height"] * 0.75, abs=2)
    await expect(page.locator(".facts")).to_contain_text("25 % from the left, 75 % from the top")

    await page.get_by_role("button", name="Undo").click()
    await expect(marker).to_be_hidden()
    assert await focus_of(gallery, image) is None


async def test_the_keyboard_sets_and_clears_the_focus(opened, gallery):
    page, image = opened
    button = page.get_by_role("button", name="Set focus")
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Focus: 50 % from the left, 50 % from the top")).to_be_focused()
    for key in ("ArrowRight", "Shift+ArrowRight", "ArrowUp", "ArrowUp", "Shift+ArrowDown"):
        await page.keyboard.press(key)
    await page.keyboard.press("Enter")
    await expect(page.locator("#messages li", has_text="The focus is set.")).to_be_visible()
    assert await focus_of(gallery, image) == (0.61, 0.58)
    await expect(button).to_be_focused()

    await page.keyboard.press("Enter")
    await page.keyboard.press("Shift+ArrowLeft")
    await page.keyboard.press("Escape")
    await expect(page.locator("#viewer")).to_be_visible()
    assert await page.locator(".marker").evaluate(WHERE) == [0.61, 0.58]
    assert await focus_of(gallery, image) == (0.61, 0.58)

    await page.get_by_role("button", name="Clear focus").click()
    await expect(page.locator(".marker")).to_be_hidden()
    await expect(button).to_be_focused()
    assert await focus_of(gallery, image) is None


async def test_the_focus_stays_within_the_photo(opened, gallery):
    page, image = opened
    await page.get_by_role("button", name="Set focus").click()
    for _ in range(6):
        await page.keyboard.press("Shift+ArrowLeft")
    await page.keyboard.press("Tab")
    await expect(page.locator("#messages li", has_text="The focus is set.")).to_be_visible()
    assert await focus_of(gallery, image) == (0, 0.5)


async def test_a_click_on_a_photo_without_its_facts_changes_nothing(opened, gallery):
    page, image = opened
    await page.get_by_role("button", name="Facts and actions").click()
    await page.locator(".frame").click()
    await page.wait_for_timeout(300)
    assert await focus_of(gallery, image) is None


async def test_a_reader_cannot_set_the_focus(open_page, settings):
    async with open_gallery(with_authentication(settings)) as application, serve_api(application) as url:
        _, key = await create_api_key(application, CALLER.owner, Scope.READ)
        async with open_processing(application, name="worker") as processing:
            [image] = await ready_images(application, processing, a_jpeg(1200, 800))
        page = (await open_page(url)).page
        await page.goto("/")
        await page.get_by_label("API key or token").fill(key)
        await page.keyboard.press("Enter")
        await open_photo(page)
        await expect(page.get_by_role("button", name="Set focus")).to_be_hidden()
        await page.locator(".frame").click()
        await page.wait_for_timeout(300)
        assert await focus_of(application, image) is None


@pytest.mark.parametrize(("formats", "plain"), [("avif,jpeg", "jpeg"), ("webp", "webp")])
async def test_the_page_shows_the_formats_of_the_recipe(environment, open_page, formats, plain):
    settings = {"GALLERY_RENDITIONS__FORMATS": formats, "GALLERY_RENDITIONS__WIDTHS": "200,500"}
    async with running_application(environment, **settings) as (gallery, client):
        async with open_processing(gallery, name="worker") as processing:
            await ready_images(gallery, processing, a_jpeg(1200, 800))
        page = (await open_page(str(client.base_url))).page
        await page.goto("/")
        photo = tile(page, "Photo 0").locator(".photo")
        await expect(tile(page, "Photo 0")).to_have_class("tile loaded", timeout=30_000)
        best = formats.split(",")[0]
        assert f".{best}?" in await photo.evaluate("(img) => img.currentSrc")
        assert f".{plain}?" in await photo.get_attribute("src")
        await tile(page, "Photo 0").locator(".open").click()
        await expect(page.locator("#viewer .frame.loaded")).to_be_visible(timeout=30_000)
        assert f"/500.{best}?" in await page.locator("#viewer .photo").evaluate("(img) => img.currentSrc")
