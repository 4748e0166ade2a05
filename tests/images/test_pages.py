"""Lists: in order, each image once, also while images are added and deleted."""

import asyncio
import itertools
from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st

import photos
from factories import CALLER, upload_image
from gallery.access.model import Caller, Owner
from gallery.errors import InvalidField
from gallery.images.list_query import SORT_KEY_TYPES, ListQuery, Sort
from gallery.images.model import Edit, Status
from gallery.paging import Cursor
from image_rows import insert_images, list_all_pages, list_images, list_query, list_titles, refused_parameter


async def page(gallery, cursor=None, limit=2, **parameters):
    given = {"limit": limit, **parameters} | ({"cursor": cursor} if cursor is not None else {})
    answer = await gallery.cached_reads.page(CALLER, list_query(**given))
    return [image["title"] for image in msgspec.json.decode(answer.body)], answer.next


async def test_pages_follow_each_other_to_the_end(gallery):
    for title in "abcde":
        await upload_image(gallery, title=title)
    first, cursor = await page(gallery)
    second, cursor = await page(gallery, cursor)
    third, end = await page(gallery, cursor)
    assert (first, second, third, end) == (["e", "d"], ["c", "b"], ["a"], None)


async def test_a_full_last_page_has_no_next(gallery):
    for title in "ab":
        await upload_image(gallery, title=title)
    assert await page(gallery) == (["b", "a"], None)


async def test_each_image_once_while_images_come_and_go(gallery):
    images = [await upload_image(gallery, title=title) for title in "abcd"]
    first, cursor = await page(gallery)
    await upload_image(gallery, title="new")
    await gallery.images.delete(CALLER, images[2].id)
    second, _ = await page(gallery, cursor)
    assert first + second == ["d", "c", "b", "a"]


async def test_images_of_one_instant_are_listed_once_each(gallery):
    for title in "abc":
        await upload_image(gallery, title=title)
    async with gallery.database.writing() as db:
        await db.execute("UPDATE image SET created_at = '2026-01-01Z'")
    first, cursor = await page(gallery)
    second, end = await page(gallery, cursor)
    assert sorted(first + second) == ["a", "b", "c"]
    assert end is None


async def test_only_of_one_status(gallery, processing):
    done = await upload_image(gallery, title="done")
    await upload_image(gallery, title="waiting")
    await processing.process(done.id)
    assert await page(gallery, status="READY") == (["done"], None)


@pytest.mark.parametrize("text", ["", "x", "é", "W10", "WzEsMSwxXQ", Cursor.__name__, "A" * 5000])
async def test_an_invalid_cursor_is_refused(gallery, text):
    with pytest.raises(InvalidField):
        await page(gallery, text)


@pytest.mark.parametrize(
    "other", [{"sort": "createdAt"}, {"sort": "-size"}, {"status": "READY"}, {"tag": "lake"}, {"search": "lake"}]
)
async def test_a_cursor_fits_its_list_only(gallery, other):
    await insert_images(gallery, *"abc")
    _, cursor = await page(gallery)
    assert (await page(gallery, cursor, limit=1))[0] == ["a"], "another limit is fine"
    with pytest.raises(InvalidField, match="another sort or filter"):
        await page(gallery, cursor, **other)


@pytest.mark.parametrize("sort", Sort)
@given(key=st.none() | st.text() | st.integers() | st.floats() | st.datetimes().map(str), row=st.uuids() | st.text())
@with_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_a_forged_cursor_is_a_page_or_a_refusal(gallery, sort, key, row):
    forged = msgspec.json.encode([2, ListQuery(sort=sort).list_fingerprint, key, row])
    await page_or_refusal(gallery, sort, forged)


@pytest.mark.parametrize(
    "key",
    ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00", "2026-01-01T00:00:00Z", "\0"],
)
@pytest.mark.parametrize("sort", Sort)
async def test_an_extreme_date_is_a_page_or_a_refusal(gallery, sort, key):
    row = "01990000-0000-7000-8000-000000000000"
    await page_or_refusal(gallery, sort, msgspec.json.encode([2, ListQuery(sort=sort).list_fingerprint, key, row]))


async def page_or_refusal(gallery, sort, cursor):
    text = urlsafe_b64encode(cursor).rstrip(b"=").decode()
    assert await refused_parameter(gallery, sort=sort, cursor=text) in (None, "/cursor")


# --- sorts ----------------------------------------------------------------------------------------------------------


def exif_taken_at(day, zone=""):
    return msgspec.json.encode({"takenAt": f"{day}T12:00:00{zone}"})


async def test_each_sort_has_its_order(gallery):
    await insert_images(gallery, "b", size=3, exif=exif_taken_at("2020-01-01"))
    await insert_images(gallery, "Ä", size=1)
    await insert_images(gallery, "c", size=1 << 40, exif=exif_taken_at("0001-01-01"))
    await insert_images(gallery, "Z", size=2, exif=exif_taken_at("2024-02-29"))
    expected = {
        Sort.NEWEST: ["Z", "c", "Ä", "b"],
        Sort.OLDEST: ["b", "Ä", "c", "Z"],
        Sort.TITLE: ["Ä", "b", "c", "Z"],
        Sort.LARGEST: ["c", "b", "Z", "Ä"],
        Sort.LAST_TAKEN: ["Z", "b", "c", "Ä"],
    }
    for sort, order in expected.items():
        assert [image.title for image in await list_all_pages(gallery, sort=sort, limit=1)] == order, sort
        assert await list_titles(gallery, sort=sort) == order, sort


async def test_cameras_clocks_are_compared_as_they_were(gallery):
    await insert_images(gallery, "a", exif=exif_taken_at("2024-05-02", "+14:00"))
    await insert_images(gallery, "b", exif=exif_taken_at("2024-05-01"))
    await insert_images(gallery, "c", "d")
    assert await list_titles(gallery, sort="-takenAt") == ["a", "b", "d", "c"]


async def test_a_photos_date_is_known_when_it_is_ready(gallery, processing):
    with_clock = await upload_image(gallery, photos.a_jpeg(seed=1, exif=photos.CAMERA), title="camera")
    without = await upload_image(gallery, photos.a_jpeg(seed=2), title="scan")
    assert await list_titles(gallery, sort="-takenAt") == ["scan", "camera"], "both without a date as yet"
    for image in (with_clock, without):
        await processing.process(image.id)
    assert await list_titles(gallery, sort="-takenAt") == ["camera", "scan"]


@pytest.mark.parametrize("sort", Sort)
async def test_images_with_equal_keys_are_listed_once_each(gallery, sort):
    await insert_images(gallery, *["same"] * 7, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    images = await list_all_pages(gallery, sort=sort, limit=2)
    assert len(images) == len({image.id for image in images}) == 7


@pytest.mark.parametrize(
    "parameters",
    [
        *({"sort": sort} for sort in Sort),
        {"status": "PENDING"},
        {"status": "PENDING,FAILED", "sort": "createdAt"},
        {"search": "lake"},
        {"search": "lake", "sort": "title", "status": "PENDING"},
    ],
    ids=str,
)
async def test_each_image_once_while_others_come_and_go(gallery, parameters):
    """An image that exists from the first page to the last is on exactly one of them."""
    stays, goes = [], []
    for n in range(12):
        stays += await insert_images(
            gallery, f"lake {n % 3}", size=n % 4, exif=exif_taken_at("2020-01-01") if n % 2 else b"{}"
        )
        goes += await insert_images(gallery, f"lake {n % 3}", size=n % 4)
    rounds = itertools.count()

    async def come_and_go():
        if next(rounds) < 6:
            new = (insert_images(gallery, f"lake {n}", size=n, exif=exif_taken_at("2019-01-01")) for n in range(3))
            await asyncio.gather(
                gallery.images.delete(CALLER, goes.pop()), gallery.images.delete(CALLER, goes.pop(0)), *new
            )

    seen = [image.id for image in await list_all_pages(gallery, come_and_go, limit=4, **parameters)]
    assert set(stays) <= set(seen)
    assert len(seen) == len(set(seen))


async def test_a_title_changed_meanwhile_moves_its_image_and_no_other(gallery):
    """By title, an image can be seen twice or not at all, but only the one whose title is changed."""
    ids = await insert_images(gallery, *"abcdef")
    first, cursor = await page(gallery, sort="title", limit=3)
    await gallery.images.edit(CALLER, ids[0], Edit(title="z"))
    await gallery.images.edit(CALLER, ids[5], Edit(title="a"))
    second, _ = await page(gallery, cursor, sort="title", limit=10)
    assert (first, second) == (["a", "b", "c"], ["d", "e", "z"])


# --- filters --------------------------------------------------------------------------------------------------------


async def test_of_several_statuses(gallery):
    await insert_images(gallery, "a", "b", status="READY")
    await insert_images(gallery, "c", "d", status="FAILED")
    await insert_images(gallery, "e", "f", status="PENDING")
    for sort, order in ((Sort.NEWEST, ["f", "e", "b", "a"]), (Sort.TITLE, ["a", "b", "e", "f"])):
        assert [
            image.title for image in await list_all_pages(gallery, status="READY,PENDING", sort=sort, limit=3)
        ] == order


async def test_all_tags_have_to_be_there_as_spelled(gallery):
    await insert_images(gallery, "both", tags=["lake", "summer"])
    await insert_images(gallery, "one", tags=["lake"])
    await insert_images(gallery, "other", tags=["Lake", "lakeside"])
    assert await list_titles(gallery, tag="lake") == ["one", "both"]
    assert await list_titles(gallery, tag=["summer", "lake"]) == ["both"]
    assert await list_titles(gallery, tag="la") == []


async def test_another_owners_images_are_in_no_list(gallery):
    eve = Caller(owner=Owner("eve"))
    theirs = await insert_images(gallery, "lake", caller=eve, tags=["lake"])
    for parameters in (
        {},
        {"search": "lake"},
        {"tag": "lake"},
        {"ids": theirs[0]},
        {"status": "PENDING", "sort": "title"},
    ):
        assert await list_images(gallery, **parameters) == []
        assert [image.id for image in await list_images(gallery, eve, **parameters)] == theirs


# --- by ids ---------------------------------------------------------------------------------------------------------


async def test_ids_are_answered_in_their_order(gallery):
    a, b, c, d = await insert_images(gallery, *"abcd")
    await gallery.images.delete(CALLER, d)
    wanted = [c, a.upper(), "nothing", "", "01990000-0000-7000-8000-000000000000", d, c, b]
    assert await list_titles(gallery, ids=",".join(wanted)) == ["c", "a", "b"]
    assert await list_titles(gallery, ids="") == []


async def test_two_hundred_ids_and_no_more(gallery):
    ids = await insert_images(gallery, *(str(n) for n in range(200)))
    assert [image.id for image in await list_images(gallery, ids=",".join(ids))] == ids
    with pytest.raises(InvalidField, match="at most 200"):
        list_query(ids=",".join([*ids, "x"]))


# --- the query --------------------------------------------------------------------------------------------------------


def test_equal_queries_share_a_cache_entry():
    def fingerprint(**parameters):
        return list_query(**parameters).fingerprint

    assert fingerprint() == fingerprint(
        limit=50, sort="-createdAt", search="  ", status="PENDING,PROCESSING,READY,FAILED"
    )
    assert fingerprint(search="lake dawn") == fingerprint(search=" dawn  lake lake")
    assert fingerprint(tag=["a", "b"]) == fingerprint(tag=["b", "a"])
    assert fingerprint(status="READY,FAILED") == fingerprint(status="FAILED,READY,FAILED")
    different = [{}, {"limit": 1}, {"sort": "title"}, {"tag": "a"}, {"search": "a"}, {"status": "READY"}, {"ids": ""}]
    assert len({fingerprint(**parameters) for parameters in different}) == len(different)


def test_every_sort_has_a_key():
    assert set(SORT_KEY_TYPES) == set(Sort)
    assert list_query(status="READY").statuses == [Status.READY]
