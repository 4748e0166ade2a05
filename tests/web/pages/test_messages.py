"""Messages on the page: visible, announced to screen readers, and never in the way."""

import asyncio
import re

import pytest
from playwright.async_api import expect

from page_actions import (
    RENDER_TIMEOUT_MS,
    a_file,
    a_photo,
    choose_files,
    expect_ready,
    refuse_requests,
    tile,
    unique_name,
    upload,
)

NOT_A_PICTURE = b"text"


@pytest.fixture
async def quiet(open_page, stack):
    """The page with a clock that a test can advance."""
    visit = await open_page(stack.url)
    await visit.page.clock.install()
    await visit.page.goto("/")
    await visit.page.locator("body[data-read]").wait_for()
    await choose_files(visit.page, a_file("notes.txt", NOT_A_PICTURE, "text/plain"))
    await expect(visit.page.locator(".message")).to_contain_text("notes.txt: ")
    return visit.page


async def test_a_message_closes_by_itself_after_time_to_read_it(quiet):
    await expect(quiet.locator("#status")).to_contain_text("notes.txt: ")
    assert await quiet.evaluate("document.activeElement === document.body"), "it does not take the focus"
    await quiet.clock.run_for(5_000)
    await expect(quiet.locator(".message")).to_have_count(1)
    await quiet.clock.run_for(25_000)
    await expect(quiet.locator(".message")).to_have_count(0)


@pytest.mark.parametrize("attend", ["hover", "focus"])
async def test_a_message_stays_while_it_is_attended_to(quiet, attend):
    await getattr(quiet.locator(".message .dismiss"), attend)()
    await quiet.clock.run_for(60_000)
    await expect(quiet.locator(".message")).to_have_count(1)


async def test_a_message_is_dismissed_by_button_and_by_escape_and_gives_the_focus_back(quiet):
    await quiet.get_by_role("link", name="API").focus()
    await quiet.locator(".message .dismiss").focus()
    await quiet.keyboard.press("Escape")
    await expect(quiet.locator(".message")).to_have_count(0)
    await expect(quiet.get_by_role("link", name="API")).to_be_focused()
    await choose_files(quiet, a_file("more.txt", NOT_A_PICTURE, "text/plain"))
    await quiet.get_by_role("button", name="Dismiss this message").click()
    await expect(quiet.locator(".message")).to_have_count(0)


async def test_duplicate_photos_share_one_message_and_nothing_jumps(visit, http):
    page = visit.page
    await page.set_viewport_size({"width": 700, "height": 420})
    names = [unique_name("Again") for _ in range(2)]
    for seed, name in enumerate(names, 50):
        await upload(http, name, seed)
    for number in range(8):
        await upload(http, unique_name("Between"), 60 + number)
    for name in names:
        await expect(tile(page, name)).to_have_attribute("data-state", "ready", timeout=RENDER_TIMEOUT_MS)
    await page.evaluate("scrollTo(0, 0); addEventListener('scroll', () => (window.scrolled = true))")
    fresh = unique_name("Fresh")
    files = [a_file(f"{name}.jpg", a_photo(name, seed=seed)) for seed, name in enumerate(names, 50)]
    await choose_files(page, *files, a_file(f"{fresh}.jpg", a_photo(fresh)))
    message = page.locator(".message", has_text="2 of 3 are here already.")
    await expect(message).to_be_visible()
    await expect_ready(page, fresh)
    assert await page.evaluate("scrollY") == 0
    await message.get_by_role("button", name="Show").click()
    await expect(tile(page, names[1])).to_be_in_viewport()
    await expect(tile(page, names[1]).locator(".open")).to_be_focused()
    assert await visit.find_errors() == []


async def test_many_uploads_show_their_progress(visit):
    names = [unique_name("Many") for _ in range(5)]
    files = [a_file(f"{name}.jpg", a_photo(name, 300, 200, seed)) for seed, name in enumerate(names)]

    async def slowly(route) -> None:
        await asyncio.sleep(1)
        await route.continue_()

    await visit.page.route("**/api/v1/images", slowly)
    await choose_files(visit.page, *files)
    await expect(
        visit.page.locator(".message p", has_text=re.compile(r"^\d of 5 uploaded · [\d.]+ \w+ of [\d.]+ kB"))
    ).to_be_visible()
    await expect(visit.page.locator(".message", has_text="5 of 5 uploaded.")).to_be_visible(timeout=RENDER_TIMEOUT_MS)
    assert await visit.find_errors() == []


async def test_the_rest_of_many_uploads_is_cancelled_at_once(visit):
    await refuse_requests(visit.page, "**/api/v1/images", times=99, retry_after=60)
    names = [unique_name("Wrong folder") for _ in range(5)]
    await choose_files(visit.page, *[a_file(f"{name}.jpg", a_photo(name)) for name in names])
    await expect(visit.page.locator(".message", has_text="5 uploads wait")).to_be_visible()
    for name in names:
        await tile(visit.page, f"{name}.jpg").get_by_role("button", name=f"Cancel upload of {name}.jpg").click()
    await expect(visit.page.locator(".message", has_text="wait")).to_have_count(0)
    await expect(visit.page.locator(".tile", has_text="Wrong folder")).to_have_count(0)
    await expect(visit.page.locator("#connection")).to_have_text("Live")


async def test_messages_are_within_reach_while_a_photo_is_open(visit, http):
    name = unique_name("Open")
    await upload(http, name)
    await expect_ready(visit.page, name)
    await tile(visit.page, name).locator(".open").click()
    dawn = unique_name("Dawn")
    await visit.page.locator("#viewer [name=title]").fill(dawn)
    await visit.page.keyboard.press("Enter")
    saved = visit.page.locator("#viewer .message", has_text="The title is saved.")
    await saved.get_by_role("button", name="Dismiss this message").click()
    await expect(saved).to_have_count(0)
    await visit.page.keyboard.press("Escape")
    await expect(visit.page.locator("body > #messages")).to_be_attached()
