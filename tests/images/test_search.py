"""Search: matches by words and parts of words; special characters are only text."""

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from factories import CALLER
from gallery.errors import InvalidField
from gallery.images import listing
from gallery.images.model import Edit
from image_rows import insert_images, list_all_pages, list_images, list_query, list_titles, refused_parameter

UNUSUAL_SEARCHES = [
    "'",
    "''",
    '"',
    "\\",
    "%",
    "_",
    "*",
    ":*",
    "a & b",
    "!a",
    "a|b",
    "(",
    "<->",
    "{}",
    "$1",
    "--",
    ";",
    "/*",
    "<b>",
    "&amp;",
]


@pytest.mark.parametrize(
    ("title", "search"),
    [
        ("Zürich", "zurich"),
        ("Zurich", "ZÜRICH"),
        ("Ångström", "angstrom"),
        ("A\u030angstro\u0308m", "Ångström"),
        ("Straße", "strasse"),
        ("STRASSE", "straße"),
        ("Łódź", "lodz"),
        ("Ёлка", "елка"),
        ("ΚΟΣΜΟΣ", "κόσμος"),
        ("東京タワー", "東京"),
        ("ﬁsh", "fish"),
        ("Ｌａｋｅ", "lake"),
        ("Lake 🌊", "🌊"),
        ("👩‍👩‍👧 at home", "👩‍👩‍👧"),
        ("holiday", "lida"),
        ("holiday", "day"),
        ("holiday", "ho"),
        ("holiday", "h"),
        ("New-York", "yo"),
        ("IMG_0042.jpg", "0042"),
        ("it's C++", "c++"),
        ("50% off", "50%"),
        ("<b>bold</b>", "<b>"),
        ("lake at dawn", "dawn lake"),
        ("lake at dawn", "awn lak"),
        ("東京、大阪", "大阪"),
        ("写真「桜」", "桜"),
        ("ラーメン・うどん", "うどん"),
        ("नमस्ते।दुनिया", "दुनिया"),
        ("مرحبا،عالم", "عالم"),
        ("«été»", "ete"),
        ("10€—cheap", "cheap"),
        ("a→b", "b"),
        ("sun☀lake", "lake"),
        ("lake🌊dawn", "🌊 dawn"),
        ("👨‍👩‍👧", "👨👩👧"),
        ("שָׁלוֹם", "שלום"),
        ("שלום", "שָׁלוֹם"),
        ("צה״ל", "צה״ל"),
        ("מֻחַמַּד־עלי", "עלי"),
        ("مُحَمَّد", "محمد"),
        ("محمد", "مُحَمَّد"),
        ("أحمد", "احمد"),
        ("مـــحمد", "محمد"),
        ("می\u200cخواهم", "میخواهم"),
        ("میخواهم", "می\u200cخواهم"),
        ("co\u00adoperate", "cooperate"),
        ("हिन्दी", "हिन्दी"),
        ("한국어", "한국"),
    ],
)
async def test_it_is_found(gallery, title, search):
    await insert_images(gallery, "something else")
    await insert_images(gallery, title)
    assert await list_titles(gallery, search=search) == [title]


@pytest.mark.parametrize(
    ("title", "search"),
    [
        ("कि", "की"),
        ("holiday", "ol"),
        ("holiday", "y"),
        ("lake", "lake dawn"),
        ("lake", "l_ke"),
        ("lake", "l%e"),
        ("lake", "lakes"),
    ],
)
async def test_it_is_not_found(gallery, title, search):
    await insert_images(gallery, title)
    assert await list_titles(gallery, search=search) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [("description", "At\nMalmö"), ("alt", "Malmö."), ("original_name", "malmo_1.jpg"), ("tags", ["x", "Malmö"])],
)
async def test_it_searches_every_field(gallery, column, value):
    await insert_images(gallery, "here", **{column: value})
    await insert_images(gallery, "not here")
    assert await list_titles(gallery, search="malmö") == ["here"]


async def test_words_may_be_in_different_fields(gallery):
    await insert_images(gallery, "Lake", tags=["summer"], description="with friends")
    await insert_images(gallery, "Lake", tags=["winter"])
    assert len(await list_images(gallery, search="friend summer lake")) == 1


async def test_it_follows_an_edit(gallery):
    (image,) = await insert_images(gallery, "Lake")
    await gallery.images.edit(CALLER, image, Edit(title="Hill", tags=["green"]))
    assert await list_titles(gallery, search="lake") == []
    assert await list_titles(gallery, search="green hill") == ["Hill"]


@pytest.mark.parametrize("text", UNUSUAL_SEARCHES)
async def test_punctuation_is_only_text(gallery, text):
    await insert_images(gallery, "lake", "hill")
    assert len(await list_titles(gallery, search=f"lake {text}")) <= 1
    await list_titles(gallery, search=text)


async def test_a_search_of_only_punctuation_filters_nothing(gallery):
    await insert_images(gallery, "lake", "hill")
    for signs in ("!?", " ", "「」", "—", "،", "\u200d"):
        assert await list_titles(gallery, search=signs) == ["hill", "lake"]


@pytest.mark.parametrize("text", ["\0", "a\nb", "\x7f", "x" * 201])
def test_a_search_that_is_no_line_of_text_is_refused(text):
    with pytest.raises(InvalidField) as refusal:
        list_query(search=text)
    assert refusal.value.pointer == "/search"


async def test_more_words_than_twenty_are_refused(gallery):
    with pytest.raises(InvalidField) as refusal:
        await list_images(gallery, search=" ".join(str(n) for n in range(21)))
    assert refusal.value.pointer == "/search"


@given(text=st.text(max_size=210))
@example(text="\ufdfa" * 200)
@example(text="½" * 20)
@with_settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_every_text_is_answered_or_refused(gallery, text):
    assert await refused_parameter(gallery, search=text) in (None, "/search")


@given(title=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=60))
@with_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_a_title_finds_itself(gallery, title):
    (image,) = await insert_images(gallery, title)
    assert image in [found.id for found in await list_images(gallery, search=title, limit=200)]


@pytest.mark.parametrize("sort", ["-createdAt", "createdAt", "title", "-size", "-takenAt"])
@pytest.mark.parametrize(
    ("near", "further", "few", "collected"),
    [(2, 1, 100, 1000), (2, 1, 1, 1000), (2, 1, 100, -1), (2, 5, 1, 1000), (2000, 1, 10_000, 1000)],
    ids=["few", "rest", "common", "further", "near"],
)
async def test_each_step_finds_the_same(gallery, monkeypatch, sort, near, further, few, collected):
    """Of thirty images every third has the word; the step that finds them must not change the answer."""
    for n in range(30):
        await insert_images(
            gallery, "lake" if n % 3 == 0 else "hill", size=n % 5, status="READY" if n % 2 else "FAILED"
        )
    asked_for = {"sort": sort, "search": "lake", "status": "READY,FAILED"}
    expected = [image.id for image in await list_images(gallery, **asked_for)]
    assert len(expected) == 10
    monkeypatch.setattr(listing, "MAX_SCANNED", near)
    monkeypatch.setattr(listing, "SCAN_FURTHER", further)
    monkeypatch.setattr(listing, "MAX_SORTED", few)
    monkeypatch.setattr(listing, "MAX_COLLECTED", collected)
    assert [image.id for image in await list_all_pages(gallery, limit=3, **asked_for)] == expected


@pytest.mark.parametrize("sort", ["-createdAt", "createdAt", "title", "-size", "-takenAt"])
@pytest.mark.parametrize("status", ["READY", "READY,FAILED"])
async def test_a_long_scan_ends_early_with_a_cursor(gallery, monkeypatch, sort, status):
    """The matches are far from the beginning: pages end after nine images, with or without a match."""
    for n in range(30):
        await insert_images(gallery, "lake" if 12 <= n < 18 else "hill", size=n, status="READY" if n % 3 else "FAILED")
    query = list_query(sort=sort, search="lake", status=status, limit=3)
    expected = [image.id for image in await list_images(gallery, sort=sort, search="lake", status=status)]
    assert len(expected) == (4 if status == "READY" else 6)
    monkeypatch.setattr(listing, "MAX_SCANNED", 2)
    monkeypatch.setattr(listing, "MAX_SORTED", 1)
    monkeypatch.setattr(listing, "MAX_LONG_SCAN", 9)
    pages = []
    while True:
        page = await gallery.images.page(CALLER, query)
        pages.append([image.id for image in page.items])
        if page.next is None:
            break
        query = replace(query, after=page.next)
    assert [found for page in pages for found in page] == expected
    assert any(len(page) < 3 for page in pages[:-1]), "a page that is not full is not the last one"
