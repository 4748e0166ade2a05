"""Folders, dropped and chosen: their pictures are uploaded, and one message names the files that were left out."""

import pytest
from playwright.async_api import Page, expect

from page_actions import a_photo, drop, expect_ready, unique_name


@pytest.fixture
def folder(tmp_path):
    """A folder with two pictures, one of them in a subfolder, and files that are not pictures."""
    name = unique_name("Holiday")
    root = tmp_path / name
    (root / "Day 2").mkdir(parents=True)
    (root / "lake.jpg").write_bytes(a_photo(name + "1", 300, 200, 1))
    (root / "Day 2" / "TOWER.JPG").write_bytes(a_photo(name + "2", 300, 200, 2))
    (root / "Day 2" / "notes.txt").write_text("Nice.")
    (root / ".DS_Store").write_bytes(b"0")
    (root / "Day 2" / "._TOWER.JPG").write_bytes(b"0")
    return root


async def test_a_dropped_folder_is_searched_for_pictures(visit, folder):
    await drop(visit.page, folder)
    message = visit.page.locator(".message", has_text=folder.name)
    await expect(message).to_have_text(f"2 pictures from “{folder.name}”. 1 other file is left out.")
    await expect_ready(visit.page, "lake")
    await expect_ready(visit.page, "TOWER")
    assert await visit.find_errors() == []
    for title in ("lake", "TOWER"):
        await remove(visit.page, title)


async def test_a_folder_without_pictures_shows_a_message(visit, tmp_path):
    empty = tmp_path / unique_name("Papers")
    empty.mkdir()
    (empty / "notes.txt").write_text("Nice.")
    await drop(visit.page, empty)
    message = visit.page.locator(".message", has_text=empty.name)
    await expect(message).to_have_text(f"There are no pictures in “{empty.name}”. 1 other file is left out.")
    assert await visit.find_errors() == []


async def test_a_folder_can_be_chosen(visit, folder):
    await visit.page.locator("#folder").set_input_files(folder)
    message = visit.page.locator(".message", has_text=folder.name)
    await expect(message).to_have_text(f"2 pictures from “{folder.name}”. 1 other file is left out.")
    await expect_ready(visit.page, "lake")
    for title in ("lake", "TOWER"):
        await remove(visit.page, title)
    assert await visit.find_errors() == []


async def remove(page: Page, title: str) -> None:
    await page.get_by_role("button", name=title, exact=True).focus()
    await page.keyboard.press("Delete")
    await page.locator("#sure .yes").click()
    await expect(page.get_by_role("button", name=title, exact=True)).to_have_count(0)
