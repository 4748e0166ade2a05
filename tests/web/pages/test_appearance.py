"""Photos on the wall and in the viewer, on screens of all kinds."""

import io

from PIL import Image
from playwright.async_api import expect

from conftest import serve_api
from page_actions import expect_ready, ready_images, tile, unique_name, upload
from photos import a_jpeg, a_png

PHONE = {"has_touch": True, "is_mobile": True}
BOXES = """() => {
    const box = (element) => element.getBoundingClientRect();
    const photo = box(document.querySelector("#viewer .frame"));
    const beside = (a) => a.right <= photo.left || a.left >= photo.right;
    const covers = (a) => !beside(a) && a.bottom > photo.top && a.top < photo.bottom;
    const buttons = [...document.querySelectorAll("#viewer .round:not(:disabled)")];
    const covering = buttons.filter((button) => covers(box(button))).length;
    return { stage: box(document.querySelector(".stage")).height, covering };
}"""


def a_dot() -> bytes:
    png = io.BytesIO()
    Image.new("RGB", (1, 1), (255, 0, 0)).save(png, "PNG")
    return png.getvalue()


async def test_nothing_is_left_behind_a_transparent_picture(open_page, gallery, processing):
    await ready_images(gallery, processing, a_png(alpha=True))
    async with serve_api(gallery) as url:
        page = (await open_page(url)).page
        await page.goto("/")
        await expect_ready(page, "Photo 0")
        await expect(tile(page, "Photo 0").locator(".hash")).to_have_css("opacity", "0")
        await tile(page, "Photo 0").locator(".open").click()
        await expect(page.locator("#viewer .frame.loaded canvas")).to_have_css("opacity", "0")
        await expect(page.locator("#viewer .photo")).to_have_css("opacity", "1")


async def test_a_panorama_is_loaded_for_all_of_its_width_and_a_dot_has_no_placeholder(open_page, gallery, processing):
    await ready_images(gallery, processing, a_jpeg(2700, 300), a_dot())
    async with serve_api(gallery) as url:
        page = (await open_page(url)).page
        await page.goto("/")
        await expect_ready(page, "Photo 0")
        source = await tile(page, "Photo 0").locator(".photo").evaluate("(img) => img.currentSrc")
        assert "/1920.webp" in source, "shown are 240 pixels of its 300: a tile of 720 is a window on 2,160"
        await expect(tile(page, "Photo 1").locator(".hash")).to_have_js_property("width", 1)


async def test_a_phone_shows_no_text_about_dropping_files(open_page, gallery):
    async with serve_api(gallery) as url:
        visit = await open_page(url, **PHONE)
        page = visit.page
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.goto("/")
        await expect(page.get_by_text("Choose photos")).to_be_visible()
        await expect(page.get_by_text("Drop your first photo here")).to_be_hidden()
        await expect(page.get_by_role("button", name="Upload a folder")).to_be_hidden()
        assert await visit.find_errors() == []
        mouse = (await open_page(url)).page
        await mouse.goto("/")
        await expect(mouse.get_by_text("Drop your first photo here")).to_be_visible()
        await expect(mouse.get_by_text("Choose photos")).to_be_hidden()


async def test_on_a_phone_neither_buttons_nor_facts_cover_the_photo(open_page, gallery, processing):
    await ready_images(gallery, processing, a_jpeg(900, 600, 1), a_jpeg(600, 900, 2), a_jpeg(900, 300, 3))
    async with serve_api(gallery) as url:
        page = (await open_page(url, **PHONE)).page
        for width, height in ((390, 844), (844, 390)):
            await page.set_viewport_size({"width": width, "height": height})
            await page.goto("/")
            await tile(page, "Photo 1").locator(".open").click()
            await page.locator("#viewer .frame.loaded").wait_for()
            for facts in (True, False):
                boxes = await page.evaluate(BOXES)
                assert boxes["covering"] == 0, (width, height, facts)
                assert boxes["stage"] >= (0.5 * height if facts and height > width else height)
                await page.get_by_role("button", name="Facts and actions").click()
            await page.goto("about:blank")


async def test_a_long_title_wraps_and_facts_can_be_closed(visit, http):
    page, name = visit.page, unique_name("A title of many words that its owner has written with patience")
    image = await upload(http, name)
    await expect_ready(page, name)
    await tile(page, name).locator(".open").click()
    title = page.locator("#viewer [name=title]")
    line, whole, seen = await title.evaluate(
        "(t) => [parseFloat(getComputedStyle(t).lineHeight), t.scrollHeight, t.clientHeight]"
    )
    assert whole > 2 * line
    assert seen >= whole
    download = page.locator("#viewer").get_by_role("link", name="Download")
    async with page.expect_download() as downloaded:
        await download.click()
    assert (await downloaded.value).suggested_filename == f"{name}.jpg"
    info = page.get_by_role("button", name="Facts and actions")
    await info.click()
    await expect(title).to_be_hidden()
    await page.reload()
    await expect(page.locator("#viewer .frame.loaded")).to_be_visible()
    assert image["id"] in page.url
    await expect(title).to_be_hidden()
    await info.click()
    await expect(title).to_be_visible()
    assert await visit.find_errors() == []


async def test_the_stage_is_dark_in_light_mode_too(open_page, gallery, processing):
    await ready_images(gallery, processing, a_jpeg())
    async with serve_api(gallery) as url:
        page = (await open_page(url, color_scheme="light")).page
        await page.goto("/")
        await tile(page, "Photo 0").locator(".open").click()
        red, *_ = await page.locator(".stage").evaluate(
            "(s) => getComputedStyle(s).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert red < 40
