"""The gallery in a real browser, on a real API with a real worker."""

import asyncio
import base64
from pathlib import Path

from playwright.async_api import Browser, expect

from page_actions import (
    DATA_TRANSFER_SCRIPT,
    RENDER_TIMEOUT_MS,
    a_file,
    a_photo,
    choose_files,
    expect_ready,
    tile,
    unique_name,
    upload,
)
from photos import a_heic, not_pictures

RECORD = """
    window.states = {};
    new MutationObserver((changes) => {
      for (const { target } of changes) {
        if (!target.matches(".tile")) continue;
        const seen = states[target.querySelector(".name").textContent.replace(/\\.\\w+$/, "")] ??= [];
        if (seen.at(-1) !== target.dataset.state) seen.push(target.dataset.state);
      }
    }).observe(document.getElementById("wall"), { subtree: true, attributes: true, attributeFilter: ["data-state"] });
"""


async def test_an_afternoon_with_photos(visit, http, browser, stack, tmp_path):
    page = visit.page
    lake, cat, tower = unique_name("Lake"), unique_name("Cat"), unique_name("Tower")
    await page.evaluate(RECORD)

    # two from the file chooser, one dropped onto the page
    await choose_files(
        page, a_file(f"{lake}.jpg", a_photo(lake, 1200, 800, 2)), a_file(f"{cat}.jpg", a_photo(cat, 600, 900, 3))
    )
    carried = await page.evaluate_handle(
        DATA_TRANSFER_SCRIPT, [f"{tower}.jpg", base64.b64encode(a_photo(tower, 900, 900, 4)).decode()]
    )
    await page.dispatch_event("main", "dragover", {"dataTransfer": carried})
    await expect(page.locator("body")).to_have_class("dropping")
    await page.dispatch_event("main", "drop", {"dataTransfer": carried})
    await expect(page.locator("body")).not_to_have_class("dropping")
    for title in (lake, cat, tower):
        await expect_ready(page, title)
    states = await page.evaluate("window.states")
    for title in (lake, cat, tower):
        assert states[title][0] == "uploading"
        assert set(states[title]) & {"waiting", "rendering"}, "the page shows the states before READY"
        assert states[title][-1] == "ready"
    ids = await page.locator(".tile").evaluate_all("(tiles) => tiles.map((tile) => tile.dataset.id)")
    assert len(set(ids)) == len(ids)

    # large, by keyboard
    await tile(page, lake).locator(".open").focus()
    await page.keyboard.press("Enter")
    viewer = page.locator("#viewer")
    await expect(viewer).to_be_visible()
    await expect(viewer.locator("[name=title]")).to_have_value(lake)
    await expect(viewer.locator(".frame")).to_have_class("frame loaded")
    await expect(viewer.locator(".facts")).to_contain_text("Canon EOS R6")
    assert id_in(page.url) == await tile(page, lake).get_attribute("data-id")
    await page.keyboard.press("ArrowLeft")
    await expect(viewer.locator("[name=title]")).not_to_have_value(lake)
    await page.keyboard.press("ArrowRight")
    await expect(viewer.locator("[name=title]")).to_have_value(lake)
    await page.keyboard.press("Escape")
    await expect(viewer).to_be_hidden()
    await expect(tile(page, lake).locator(".open")).to_be_focused()

    # another name
    dawn = unique_name("Dawn")
    await tile(page, lake).locator(".open").click()
    image_id = id_in(page.url)
    await viewer.locator("[name=title]").fill(dawn)
    await page.keyboard.press("Enter")
    await expect(page.locator(".message")).to_have_text("The title is saved.")
    assert (await http.get(f"/api/v1/images/{image_id}")).json()["title"] == dawn

    # gone for good
    await viewer.locator(".delete").click()
    await page.locator("#sure .yes").click()
    await expect(page.locator(f'[data-id="{image_id}"]')).to_have_count(0)
    assert (await http.get(f"/api/v1/images/{image_id}")).status_code == 404
    await expect(page.locator(".message", has_text=f"{dawn} is deleted.")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(viewer).to_be_hidden()

    assert await visit.find_errors() == []
    await portraits(browser, stack.url, tmp_path)


def id_in(url: str) -> str:
    return url.partition("#")[2]


async def portraits(browser: Browser, url: str, into: Path) -> None:
    for scheme in ("light", "dark"):
        for name, width, height in (("desktop", 1280, 860), ("phone", 390, 844)):
            size = {"width": width, "height": height}
            context = await browser.new_context(base_url=url, color_scheme=scheme, viewport=size)
            page = await context.new_page()
            for path, there in (("/", ".tile.loaded"), ("/api", "h1")):
                await page.goto(path)
                await page.locator(there).first.wait_for()
                wide = await page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{path} scrolls sideways on a {name}"
                await page.screenshot(path=into / f"{path.strip('/') or 'home'}-{name}-{scheme}.png")
            await context.close()


async def test_a_file_that_is_not_a_picture_shows_a_message(visit):
    name = unique_name("Noise")
    await choose_files(visit.page, a_file(f"{name}.jpg", not_pictures()["noise.jpg"]))
    refused = tile(visit.page, f"{name}.jpg")
    await expect(refused.locator(".sentence")).to_contain_text("not a supported picture")
    await expect(refused.locator(".again")).to_be_hidden()
    await refused.locator(".dismiss").click()
    await expect(refused).to_have_count(0)
    assert [status for status, _ in visit.failed_responses] == [415]


async def test_a_damaged_picture_fails_on_every_open_page(visit):
    name = unique_name("Torn")
    await choose_files(visit.page, a_file(f"{name}.jpg", a_photo(name)[:20_000]))
    torn = tile(visit.page, name)
    await expect(torn).to_have_attribute("data-state", "failed", timeout=RENDER_TIMEOUT_MS)
    await expect(torn.locator(".sentence")).to_contain_text("damaged")
    await torn.get_by_role("button", name=f"Delete {name}").click()
    await visit.page.locator("#sure .yes").click()
    await expect(torn).to_have_count(0)
    assert await visit.find_errors() == []


async def test_a_file_too_large_is_not_even_sent(visit):
    name = unique_name("Huge")
    await choose_files(visit.page, a_file(f"{name}.jpg", bytes(10 * 1024 * 1024 + 1)))
    await expect(tile(visit.page, f"{name}.jpg").locator(".sentence")).to_contain_text("larger than 10 MiB")
    assert await visit.find_errors() == []


async def test_a_picture_that_the_browser_cannot_show_is_shown_when_it_is_ready(visit):
    name = unique_name("From a phone")
    await choose_files(visit.page, a_file(f"{name}.heic", a_heic(400, 300, exif={"Model": name}), "image/heic"))
    await expect_ready(visit.page, name)
    assert await visit.find_errors() == []


async def test_a_pasted_picture_is_uploaded(visit):
    name = unique_name("Clipping")
    carried = await visit.page.evaluate_handle(
        DATA_TRANSFER_SCRIPT, [f"{name}.jpg", base64.b64encode(a_photo(name)).decode()]
    )
    paste = '(data) => document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }))'
    await visit.page.evaluate(paste, carried)
    await expect_ready(visit.page, name)
    assert await visit.find_errors() == []


async def test_changes_by_others_appear_at_once(visit, http):
    titles = [unique_name("Theirs") for _ in range(3)]
    images = await asyncio.gather(*(upload(http, title, seed) for seed, title in enumerate(titles, 11)))
    for title in titles:
        await expect_ready(visit.page, title)
    image_id, renamed = images[0]["id"], unique_name("Renamed")
    await http.patch(f"/api/v1/images/{image_id}", json={"title": renamed})
    await expect(tile(visit.page, renamed)).to_be_visible()
    await http.delete(f"/api/v1/images/{image_id}")
    await expect(visit.page.locator(f'[data-id="{image_id}"]')).to_have_count(0)
    assert await visit.find_errors() == []


async def test_a_reset_reads_the_list_anew_and_doubles_nothing(browser, stack, http):
    title = unique_name("Missed")
    image = await upload(http, title)
    context = await browser.new_context(base_url=stack.url)
    page = await context.new_page()
    reset = "retry: 100\nid: 1\n\nid: 1\nevent: reset\ndata: {}\n\n"
    answer = {"body": reset, "content_type": "text/event-stream"}
    await page.route("**/stream*", lambda route: route.fulfill(**answer), times=2)
    await page.goto("/")
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    await expect_ready(page, title)
    await expect(page.locator(f'[data-id="{image["id"]}"]')).to_have_count(1)
    await context.close()


async def test_a_link_opens_the_photo(browser, stack, http, visit):
    title = unique_name("Shared")
    image = await upload(http, title)
    await expect_ready(visit.page, title)
    await visit.page.goto("about:blank")
    await visit.page.goto(f"/#{image['id']}")
    await expect(visit.page.locator("#viewer [name=title]")).to_have_value(title)
    await visit.page.go_back()
    await expect(visit.page.locator("#viewer")).to_be_hidden()
    assert visit.page.url == f"{stack.url}/"


async def test_older_photos_come_while_scrolling(visit, http):
    """With pages of one photo, so that there are some."""
    titles = [unique_name("Old") for _ in range(3)]
    for title in titles:
        await upload(http, title)

    async def one(route) -> None:
        await route.continue_(url=route.request.url.replace("limit=60", "limit=1"))

    await visit.page.route("**/api/v1/images?*", one)
    await visit.page.reload()
    for title in titles:
        await expect(tile(visit.page, title)).to_have_count(1)
    assert await visit.find_errors() == []
