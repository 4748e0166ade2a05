"""The wall by keyboard."""

import pytest
from playwright.async_api import expect

from conftest import serve_api
from page_actions import ready_images
from photos import a_jpeg

TILE_POSITIONS = "(tiles) => tiles.map((t) => [t.offsetTop, t.offsetLeft + t.offsetWidth / 2])"


@pytest.fixture
async def photo_page(open_page, gallery, processing):
    """The page on a wall of nine photos, in several rows."""
    pictures = [a_jpeg(600, 300 + 100 * (seed % 4), seed, comment=b"%d" % seed) for seed in range(9)]
    await ready_images(gallery, processing, *pictures)
    async with serve_api(gallery) as url:
        visit = await open_page(url)
        visit.page.on("filechooser", lambda chooser: None)  # from here on no window opens
        await visit.page.goto("/")
        await expect(visit.page.locator(".tile[data-state=ready]")).to_have_count(9)
        yield visit.page
        assert await visit.find_errors() == []


def photo(page, number):
    return page.get_by_role("button", name=f"Photo {number}", exact=True)


async def test_the_wall_is_one_tab_stop_and_arrows_walk_on_it(photo_page):
    await photo_page.get_by_role("button", name="Upload", exact=True).focus()
    await photo_page.keyboard.press("Tab")
    await expect(photo(photo_page, 8)).to_be_focused()
    for key, number in (
        ("ArrowRight", 7),
        ("ArrowRight", 6),
        ("ArrowLeft", 7),
        ("End", 0),
        ("Home", 8),
        ("ArrowLeft", 8),
    ):
        await photo_page.keyboard.press(key)
        await expect(photo(photo_page, number)).to_be_focused()
    await photo_page.keyboard.press("ArrowRight")
    await photo_page.keyboard.press("Tab")
    assert await photo_page.evaluate("!document.querySelector('#wall').contains(document.activeElement)")
    await photo_page.keyboard.press("Shift+Tab")
    await expect(photo(photo_page, 7)).to_be_focused()


async def test_up_and_down_go_by_the_visible_rows(photo_page):
    places = await photo_page.locator(".tile").evaluate_all(TILE_POSITIONS)
    tops = sorted({top for top, _ in places})
    assert len(tops) > 2
    begin = places[1]
    await photo(photo_page, 7).focus()
    expected = [min((p for p in places if p[0] == top), key=lambda p: abs(p[1] - begin[1])) for top in tops]
    for key, row in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("ArrowUp", 0), ("ArrowUp", 0)):
        await photo_page.keyboard.press(key)
        now = await photo_page.evaluate(f"({TILE_POSITIONS})([document.activeElement.closest('.tile')])[0]")
        assert now == expected[row], f"{key} to row {row}"


async def test_a_tile_that_goes_leaves_the_focus_to_the_next(photo_page):
    await photo(photo_page, 5).focus()
    await photo_page.keyboard.press("Delete")
    await expect(photo_page.get_by_role("dialog", name="Delete Photo 5?")).to_be_visible()
    await photo_page.keyboard.press("Tab")
    await photo_page.keyboard.press("Enter")
    await expect(photo(photo_page, 5)).to_have_count(0)
    await expect(photo(photo_page, 4)).to_be_focused()


async def test_delete_in_the_viewer_asks_for_confirmation_but_not_while_the_title_is_edited(photo_page):
    await photo(photo_page, 5).click()
    await photo_page.locator("#viewer [name=title]").focus()
    await photo_page.keyboard.press("Delete")
    await expect(photo_page.locator("#sure")).to_be_hidden()
    await photo_page.keyboard.press("Escape")
    await photo_page.keyboard.press("Delete")
    await expect(photo_page.get_by_role("dialog", name="Delete Photo 5?")).to_be_visible()
    await photo_page.keyboard.press("Enter")  # the focus is on Cancel
    await expect(photo_page.locator("#viewer [name=title]")).to_have_value("Photo 5")


async def test_the_page_works_where_the_browser_keeps_nothing_for_it(open_page, gallery):
    async with serve_api(gallery) as url:
        visit = await open_page(url)
        blocked = 'get: () => { throw new DOMException("blocked", "SecurityError"); }'
        await visit.page.add_init_script(f"Object.defineProperty(window, 'localStorage', {{ {blocked} }})")
        await visit.page.goto("/")
        await visit.page.locator("body[data-read]").wait_for()
        await visit.page.get_by_role("button", name="Shortcuts").click()
        await visit.page.get_by_role("checkbox").uncheck()
        assert await visit.find_errors() == []


async def test_u_chooses_files_and_a_question_mark_lists_the_keys(photo_page):
    async with photo_page.expect_file_chooser() as chooser:
        await photo_page.keyboard.press("u")
    assert (await chooser.value).is_multiple()
    await photo_page.keyboard.press("?")
    keys = photo_page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(keys).to_contain_text("Upload")
    await keys.get_by_role("checkbox").uncheck()
    await photo_page.keyboard.press("Escape")
    await photo_page.keyboard.press("?")
    await expect(keys).to_be_hidden()
    await photo_page.get_by_role("button", name="Shortcuts").click()
    await keys.get_by_role("checkbox").check()
    await photo_page.keyboard.press("Escape")
    await photo_page.keyboard.press("?")
    await expect(keys).to_be_visible()
