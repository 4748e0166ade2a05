"""The wall by keyboard."""

import pytest
from playwright.async_api import expect

from browsing import hung
from conftest import served
from photos import a_jpeg

PLACES = "(tiles) => tiles.map((t) => [t.offsetTop, t.offsetLeft + t.offsetWidth / 2])"


@pytest.fixture
async def wall(opened, gallery, processing):
    """The page on a wall of nine photos, in several rows."""
    pictures = [a_jpeg(600, 300 + 100 * (seed % 4), seed, comment=b"%d" % seed) for seed in range(9)]
    await hung(gallery, processing, *pictures)
    async with served(gallery) as url:
        visit = await opened(url)
        visit.page.on("filechooser", lambda chooser: None)  # from here on no window opens
        await visit.page.goto("/")
        await expect(visit.page.locator(".tile[data-state=ready]")).to_have_count(9)
        yield visit.page
        assert await visit.troubles() == []


def photo(page, number):
    return page.get_by_role("button", name=f"Photo {number}", exact=True)


async def test_the_wall_is_one_tab_stop_and_arrows_walk_on_it(wall):
    await wall.get_by_role("button", name="Upload", exact=True).focus()
    await wall.keyboard.press("Tab")
    await expect(photo(wall, 8)).to_be_focused()
    for key, number in (
        ("ArrowRight", 7),
        ("ArrowRight", 6),
        ("ArrowLeft", 7),
        ("End", 0),
        ("Home", 8),
        ("ArrowLeft", 8),
    ):
        await wall.keyboard.press(key)
        await expect(photo(wall, number)).to_be_focused()
    await wall.keyboard.press("ArrowRight")
    await wall.keyboard.press("Tab")
    assert await wall.evaluate("!document.querySelector('#wall').contains(document.activeElement)")
    await wall.keyboard.press("Shift+Tab")
    await expect(photo(wall, 7)).to_be_focused()


async def test_up_and_down_go_by_what_is_seen(wall):
    places = await wall.locator(".tile").evaluate_all(PLACES)
    tops = sorted({top for top, _ in places})
    assert len(tops) > 2
    begin = places[1]
    await photo(wall, 7).focus()
    expected = [min((p for p in places if p[0] == top), key=lambda p: abs(p[1] - begin[1])) for top in tops]
    for key, row in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("ArrowUp", 0), ("ArrowUp", 0)):
        await wall.keyboard.press(key)
        now = await wall.evaluate(f"({PLACES})([document.activeElement.closest('.tile')])[0]")
        assert now == expected[row], f"{key} to row {row}"


async def test_a_tile_that_goes_leaves_the_focus_to_the_next(wall):
    await photo(wall, 5).focus()
    await wall.keyboard.press("Delete")
    await expect(wall.get_by_role("dialog", name="Delete Photo 5?")).to_be_visible()
    await wall.keyboard.press("Tab")
    await wall.keyboard.press("Enter")
    await expect(photo(wall, 5)).to_have_count(0)
    await expect(photo(wall, 4)).to_be_focused()


async def test_delete_in_the_viewer_asks_first_but_not_while_the_title_is_edited(wall):
    await photo(wall, 5).click()
    await wall.locator("#viewer [name=title]").focus()
    await wall.keyboard.press("Delete")
    await expect(wall.locator("#sure")).to_be_hidden()
    await wall.keyboard.press("Escape")
    await wall.keyboard.press("Delete")
    await expect(wall.get_by_role("dialog", name="Delete Photo 5?")).to_be_visible()
    await wall.keyboard.press("Enter")  # the focus is on Cancel
    await expect(wall.locator("#viewer [name=title]")).to_have_value("Photo 5")


async def test_the_page_works_where_the_browser_keeps_nothing_for_it(opened, gallery):
    async with served(gallery) as url:
        visit = await opened(url)
        blocked = 'get: () => { throw new DOMException("blocked", "SecurityError"); }'
        await visit.page.add_init_script(f"Object.defineProperty(window, 'localStorage', {{ {blocked} }})")
        await visit.page.goto("/")
        await visit.page.locator("body[data-read]").wait_for()
        await visit.page.get_by_role("button", name="Shortcuts").click()
        await visit.page.get_by_role("checkbox").uncheck()
        assert await visit.troubles() == []


async def test_u_chooses_files_and_a_question_mark_lists_the_keys(wall):
    async with wall.expect_file_chooser() as chooser:
        await wall.keyboard.press("u")
    assert (await chooser.value).is_multiple()
    await wall.keyboard.press("?")
    keys = wall.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(keys).to_contain_text("Upload")
    await keys.get_by_role("checkbox").uncheck()
    await wall.keyboard.press("Escape")
    await wall.keyboard.press("?")
    await expect(keys).to_be_hidden()
    await wall.get_by_role("button", name="Shortcuts").click()
    await keys.get_by_role("checkbox").check()
    await wall.keyboard.press("Escape")
    await wall.keyboard.press("?")
    await expect(keys).to_be_visible()
