"""`<GalleryImage>` in a browser: its size, format, preview, and its place on the page."""

import asyncio
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.async_api import Page, Route, expect

import photos
from conftest import running_application
from credentials import JWT_SECRET, bearer_headers, make_token
from factories import post, wait_until_settled
from gallery.wiring import open_processing
from photos import difference, likeness, opened

PHOTO = photos.a_jpeg(900, 600, 5)
COUNT_ANIMATIONS = """
    window.animations = 0;
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (...how) { animations++; return animate.apply(this, how); };
"""


class Held:
    """Pictures that do not come before they are released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def prepare(self, page: Page) -> None:
        await page.add_init_script(COUNT_ANIMATIONS)
        await page.route("**/images/*/*", self._hold)

    async def _hold(self, route: Route) -> None:
        if route.request.resource_type == "image":
            await self.released.wait()
        await route.continue_()


@pytest.fixture(scope="module")
async def wide(stack) -> dict[str, Any]:
    """A READY image of 900 × 600 pixels, with a focus near its left top."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:
        answer = await post(http, PHOTO, title="Lake", alt="A lake", focus="0.1,0.2")
        return await wait_until_settled(http, answer.json()["id"])


async def box(page: Page, selector: str = "img") -> tuple[int, int]:
    found = await page.locator(selector).first.bounding_box()
    assert found
    return round(found["width"]), round(found["height"])


async def screenshot(page: Page) -> Image.Image:
    return opened(await page.locator("img").first.screenshot())


async def expect_loaded(page: Page) -> str:
    """The URL that the browser has taken."""
    await page.wait_for_function("document.querySelector('img')?.naturalWidth > 0", timeout=15_000)
    await page.wait_for_function("document.getAnimations().length === 0")
    return str(await page.locator("img").first.evaluate("(img) => img.currentSrc"))


@pytest.mark.parametrize("react", [19, 18])
async def test_it_keeps_its_place_and_shows_a_preview(stack, open_page, wide, react):
    held = Held()
    page = await open_page(stack.url, "Images", react, prepare=held.prepare, wanted=[{"id": wide["id"], "width": 600}])
    img = page.page.locator("img")
    await expect(img).to_be_visible(timeout=15_000)
    await page.page.evaluate("shifts.length = 0")
    assert await box(page.page) == (600, 400)
    assert "data:image/png" in await img.evaluate("(img) => getComputedStyle(img).backgroundImage")
    photo = opened(PHOTO)
    before = await screenshot(page.page)
    assert difference(before, photo.resize((600, 400))) < 40
    held.released.set()
    assert ".webp" in await expect_loaded(page.page)
    assert await box(page.page) == (600, 400)
    assert likeness(await screenshot(page.page), photo) > 0.9
    assert await img.evaluate("(img) => getComputedStyle(img).backgroundImage") == "none"
    assert await page.layout_shift() == 0
    assert await page.page.evaluate("animations") == 1
    attributes = ["alt", "width", "height", "loading", "decoding", "sizes", "data-ref"]
    assert [await img.get_attribute(name) for name in attributes] == [
        "A lake", "600", "400", "lazy", "async", "(max-width: 600px) 100vw, 600px", "is set",
    ]  # fmt: skip
    assert page.problems == []


async def test_it_is_not_wider_than_its_parent(stack, open_page, wide):
    page = await open_page(stack.url, "Images", wanted=[{"id": wide["id"]}])
    await expect_loaded(page.page)
    assert await box(page.page) == (600, 400)
    assert await page.page.locator("img").get_attribute("sizes") == "(max-width: 900px) 100vw, 900px"


async def test_visitors_who_want_less_motion_get_none(stack, open_page, wide):
    held = Held()
    context = {"reduced_motion": "reduce"}
    wanted = [{"id": wide["id"], "width": 300}]
    page = await open_page(stack.url, "Images", prepare=held.prepare, context=context, wanted=wanted)
    await expect(page.page.locator("img")).to_be_visible(timeout=15_000)
    held.released.set()
    await expect_loaded(page.page)
    assert await page.page.evaluate("animations") == 0


async def test_a_box_of_another_ratio_cuts_the_picture_around_its_focus(stack, open_page, wide):
    page = await open_page(stack.url, "Images", wanted=[{"id": wide["id"], "width": 300, "height": 300}])
    await expect_loaded(page.page)
    assert await box(page.page) == (300, 300)
    photo = opened(PHOTO).resize((450, 300))
    assert likeness(await screenshot(page.page), photo.crop((15, 0, 315, 300))) > 0.9
    assert await page.page.locator("img").get_attribute("sizes") == "(max-width: 450px) 100vw, 450px"


async def test_a_class_is_in_charge_of_the_size(stack, open_page, wide):
    wanted = [{"id": wide["id"], "className": "photo", "alt": "Mine", "data-mine": "yes", "sizes": "50vw"}]
    page = await open_page(stack.url, "Images", wanted=wanted)
    await page.page.add_style_tag(content=".photo { width: 100%; height: 150px; object-fit: cover }")
    await expect_loaded(page.page)
    assert await box(page.page) == (600, 150)
    img = page.page.locator("img")
    assert [await img.get_attribute(name) for name in ("alt", "data-mine", "sizes")] == ["Mine", "yes", "50vw"]
    await expect(img).to_have_css("object-position", "10% 20%")


@pytest.mark.parametrize("density", [1, 2])
async def test_gallery_makes_a_picture_that_fits(stack, open_page, wide, density):
    right = {"x": 1, "y": 0.5}
    wanted = [{"id": wide["id"], "width": 120, "height": 120, "fit": "cover", "focus": right, "loading": "eager"}]
    page = await open_page(stack.url, "Images", context={"device_scale_factor": density}, wanted=wanted)
    url = await expect_loaded(page.page)
    dpr = "dpr=2&" if density == 2 else ""
    assert url == f"{stack.url}/api/v1/images/{wide['id']}/picture?{dpr}fit=cover&focus=1,0.5&h=120&w=120"
    assert await box(page.page) == (120, 120)
    photo = opened(PHOTO).resize((180 * density, 120 * density))
    cut = photo.crop((60 * density, 0, 180 * density, 120 * density))
    assert likeness(await screenshot(page.page), cut) > 0.85


async def test_a_preset(environment, open_page):
    async with running_application(environment, GALLERY_PRESETS__AVATAR="w=64&h=64&fit=cover") as (gallery, client):
        image = (await post(client, PHOTO)).json()["id"]
        async with open_processing(gallery, name="worker") as processing:
            await processing.process(image)
        wanted = [{"id": image, "preset": "avatar", "width": 64, "height": 64}]
        page = await open_page(str(client.base_url), "Images", wanted=wanted)
        assert (await expect_loaded(page.page)).endswith("/picture?preset=avatar")
        assert await page.page.locator("img").evaluate("(img) => img.naturalWidth") == 64


async def test_the_browser_cuts_pictures_with_signed_urls(environment, open_page):
    token = make_token("maya")
    async with running_application(environment, GALLERY_ACCESS__JWT_SECRET=JWT_SECRET) as (gallery, client):
        client.headers.update(bearer_headers(token))
        image = (await post(client, PHOTO)).json()["id"]
        async with open_processing(gallery, name="worker") as processing:
            await processing.process(image)
        wanted = [{"id": image, "signed": True, "width": 200, "height": 200, "fit": "cover"}]
        page = await open_page(str(client.base_url), "Images", options={"auth": token}, wanted=wanted)
        url = await expect_loaded(page.page)
        assert "/picture" not in url
        assert "sig=" in url
        photo = opened(PHOTO).resize((300, 200))
        assert likeness(await screenshot(page.page), photo.crop((50, 0, 250, 200))) > 0.9
        assert page.problems == []


async def test_an_image_that_is_not_ready_keeps_its_place(environment, open_page):
    async with running_application(environment) as (gallery, client):
        image = (await post(client, PHOTO, alt="A lake")).json()["id"]
        broken = (await post(client, PHOTO[:3000])).json()["id"]
        size = {"width": 300, "height": 200}
        wanted = [{"id": image, **size}, {"id": broken, **size}, {"id": image, "fallback": None, **size}]
        page = await open_page(str(client.base_url), "Images", wanted=wanted)
        slots = page.page.locator("[data-status=PENDING]")
        await expect(slots).to_have_text(["PENDING", "PENDING", ""], timeout=15_000)
        assert await box(page.page, "[data-status=PENDING]") == (300, 200)
        await page.page.evaluate("shifts.length = 0")
        assert await slots.first.get_attribute("aria-busy") == "true"
        await expect(page.page.get_by_role("img")).to_have_count(1)  # a `fallback` speaks for itself
        assert await page.page.get_by_role("img").get_attribute("aria-label") == "A lake"
        async with open_processing(gallery, name="worker") as processing:
            await asyncio.gather(processing.process(image), processing.process(broken))
        await expect_loaded(page.page)
        assert await box(page.page) == (300, 200)
        failed = page.page.locator("[data-status=FAILED]")
        await expect(failed).to_have_text("FAILED", timeout=15_000)
        assert await failed.get_attribute("aria-busy") == "false"
        assert await page.layout_shift() == 0


async def test_a_preview_does_not_shine_through(stack, http, open_page):
    content = photos.a_png(300, 200, alpha=True)
    image = await wait_until_settled(http, (await post(http, content)).json()["id"])
    page = await open_page(stack.url, "Images", wanted=[{"id": image["id"]}])
    await expect_loaded(page.page)
    await expect(page.page.locator("img")).to_have_css("background-image", "none")
    await expect(page.page.locator("img")).to_have_css("background-color", "rgba(0, 0, 0, 0)")
