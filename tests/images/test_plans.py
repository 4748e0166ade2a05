"""PostgreSQL's plans at twenty thousand images: the cost of a page does not depend on their number."""

import re
from typing import Any, NamedTuple

import pytest

from databases import application_environment
from gallery.access.model import SHARED_OWNER, Caller, Owner
from gallery.images import listing, store
from gallery.images.list_query import ListQuery, Sort
from gallery.images.listing import USE_FILTER_INDEX, USE_SORT_INDEX, ListStatements, SearchWords
from gallery.images.model import Status, new_id
from gallery.settings import Settings
from gallery.wiring import open_gallery
from image_rows import insert_images, list_titles

FILL = """
    INSERT INTO image (id, owner, title,
                       original_name, mime_type, size, sha256, animated, created_at, tags, status, exif)
    SELECT gen_random_uuid(), 'everybody',
           CASE WHEN i <= 3 THEN 'heliotrope' WHEN i % 2 = 0 THEN 'lake' ELSE 'hill' END,
           'x.jpg', 'image/jpeg', i % 1000, i::text, false, now() - i * interval '1 s',
           CASE WHEN i <= 3 THEN ARRAY['rare'] WHEN i % 2 = 0 THEN ARRAY['water'] ELSE '{}' END,
           CASE WHEN i % 1000 = 0 THEN 'FAILED' ELSE 'READY' END,
           CASE WHEN i % 2 = 0 THEN '{"takenAt": "2024-05-01T12:00:00"}'::jsonb ELSE '{}' END
    FROM generate_series(1, 20000) i
"""
INDEX = {
    Sort.NEWEST: "image_newest",
    Sort.OLDEST: "image_newest",
    Sort.LAST_TAKEN: "image_last_taken",
    Sort.TITLE: "image_by_title",
    Sort.LARGEST: "image_largest",
}


@pytest.fixture(scope="module")
async def large_gallery(servers, tmp_path_factory):
    """Shared: no test depends on the rows that another one adds."""
    environment = await application_environment(servers, tmp_path_factory.mktemp("full"))
    patient = Settings.read({**environment, "GALLERY_DATABASE__TIMEOUT": "60"})
    async with open_gallery(patient) as gallery:
        async with gallery.database.writing() as db:
            await db.execute(FILL)
            await db.execute("ANALYZE image")
        yield gallery


async def plan(gallery, planner_settings, statement, statements):
    async with gallery.database.writing() as db:
        await db.execute(planner_settings or "SELECT")
        rows = await db.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", *statements.parameters)
    return "\n".join(row[0] for row in rows)


async def query_from_middle(gallery, query):
    """The query of the page after a row in the middle."""
    column = listing.ORDERS[query.sort].column
    async with gallery.database.primary() as db:
        row = await db.fetchrow(f"SELECT id, {column} AS key FROM image ORDER BY id OFFSET 10000 LIMIT 1")
    return ListQuery(sort=query.sort, statuses=query.statuses, after=query.cursor(row["key"], row["id"]))


@pytest.mark.parametrize("sort", Sort)
async def test_a_page_is_read_from_the_index_of_its_sort(large_gallery, sort):
    for question in (ListQuery(sort=sort), await query_from_middle(large_gallery, ListQuery(sort=sort))):
        look = ListStatements(SHARED_OWNER, question, SearchWords(), 51)
        text = await plan(large_gallery, "", look.all(), look)
        assert f"using {INDEX[sort]} " in text, text
        assert "Sort" not in text, text
        assert "Seq Scan" not in text, text


@pytest.mark.parametrize("statuses", [[Status.FAILED], [Status.FAILED, Status.READY], list(Status)[:3]])
@pytest.mark.parametrize("sort", [Sort.NEWEST, Sort.OLDEST])
async def test_statuses_are_read_from_their_index_and_merged(large_gallery, sort, statuses):
    look = ListStatements(
        SHARED_OWNER, await query_from_middle(large_gallery, ListQuery(sort=sort, statuses=statuses)), SearchWords(), 51
    )
    text = await plan(large_gallery, USE_SORT_INDEX, look.scan(listing.MAX_SCANNED), look)
    assert "using image_newest_by_status " in text, text
    assert "Sort" not in text.replace("Sort Key", ""), text
    assert "Seq Scan" not in text, text


async def test_common_matches_are_found_by_the_first_scan(large_gallery):
    look = ListStatements(SHARED_OWNER, ListQuery(), SearchWords(["lake"]), 51)
    text = await plan(large_gallery, USE_SORT_INDEX, look.scan(listing.MAX_SCANNED), look)
    assert "using image_newest " in text, text
    assert "Sort" not in text.replace("Sort Key", ""), text
    assert "Rows Removed by Filter: 5" in text, "it stops when the page is full"


async def test_images_are_found_by_their_content_in_one_scan_of_an_index(large_gallery):
    class Question(NamedTuple):
        parameters: list[Any]

    question = Question([SHARED_OWNER, [f"{number}" for number in range(100)]])
    text = await plan(large_gallery, "", store.FIND_BY_CONTENT, question)
    assert "using image_unique_content " in text, text
    assert "sha256 = ANY" in text.partition("Index Cond")[2], text
    assert "Seq Scan" not in text, text


@pytest.mark.parametrize("question", [ListQuery(), ListQuery(tags=["rare"]), ListQuery(sort=Sort.TITLE, tags=["rare"])])
async def test_rare_matches_are_found_by_the_filters_index(large_gallery, question):
    look = ListStatements(SHARED_OWNER, question, SearchWords([] if question.tags else ["liotro"]), 51)
    text = await plan(large_gallery, USE_FILTER_INDEX, look.filter_and_sort(), look)
    assert "Bitmap Index Scan on image_search" in text, text
    assert "Seq Scan" not in text, text


@pytest.mark.parametrize("sort", Sort)
async def test_the_long_scan_is_in_order(large_gallery, sort):
    look = ListStatements(
        SHARED_OWNER, await query_from_middle(large_gallery, ListQuery(sort=sort)), SearchWords(["lake"]), 51
    )
    text = await plan(large_gallery, USE_SORT_INDEX, look.scan(listing.MAX_LONG_SCAN), look)
    assert f"using {INDEX[sort]} " in text, text
    assert "Sort" not in text, text
    assert "Seq Scan" not in text, text


async def test_a_word_of_very_many_images_is_not_collected_from_the_index(large_gallery, monkeypatch):
    monkeypatch.setattr(listing, "MAX_COLLECTED", 5000)
    async with large_gallery.database.primary() as db:
        common = ListStatements(SHARED_OWNER, ListQuery(), SearchWords(["lake"]), 51)
        assert 5000 < await common.estimate_matches(db) < 20_000
        rare = ListStatements(SHARED_OWNER, ListQuery(), SearchWords(["heliotrope"]), 51)
        assert await rare.estimate_matches(db) < 1000


async def test_an_emoji_is_found_by_the_index_of_symbols(large_gallery):
    await insert_images(large_gallery, "waves \N{WATER WAVE}")
    look = ListStatements(SHARED_OWNER, ListQuery(), SearchWords(["\N{WATER WAVE}"], ["\N{WATER WAVE}"]), 51)
    text = await plan(large_gallery, USE_FILTER_INDEX, look.filter_and_sort(), look)
    assert "Bitmap Index Scan on image_symbols" in text, text
    assert "image_search" not in text, text
    assert "Removed" not in text, text
    assert "Seq Scan" not in text, text


async def test_a_small_gallery_does_not_pay_for_a_large_one(large_gallery):
    """Another owner's few images are found without a look at the twenty thousand."""
    eve = Caller(owner=Owner("eve"))
    await insert_images(large_gallery, *["lake"] * 5, caller=eve)
    look = ListStatements(eve.owner, ListQuery(), SearchWords(["lake"]), 51)
    text = await plan(large_gallery, USE_FILTER_INDEX, look.filter_and_sort(), look)
    assert max(map(float, re.findall(r"actual rows=([\d.]+)", text))) == 5, text
    assert "Rows Removed" not in text, text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (ListQuery(), []),
        (ListQuery(sort=Sort.TITLE), []),
        (ListQuery(statuses=[Status.READY, Status.FAILED]), ["lake"]),
    ],
)
async def test_a_list_of_few_images_reads_only_these(large_gallery, query, words):
    """An upload ticket's list costs the same in a library of any size."""
    async with large_gallery.database.primary() as db:
        few = [str(row["id"]) for row in await db.fetch("SELECT id FROM image LIMIT 100")]
    look = ListStatements(SHARED_OWNER, query, SearchWords(words), 51, few)
    text = await plan(large_gallery, "", look.sort_few(), look)
    assert "image_pkey" in text, text
    assert not set(INDEX.values()) & set(re.findall(r"\w+", text)), text
    assert "Seq Scan" not in text, text


async def test_ids_are_read_by_key(large_gallery):
    ids = await insert_images(large_gallery, *(str(n) for n in range(50)))
    async with large_gallery.database.primary() as db:
        rows = await db.fetch(f"EXPLAIN {listing.FIND_BY_IDS}", SHARED_OWNER, [*ids, new_id()])
    text = "\n".join(row[0] for row in rows)
    assert "image_pkey" in text, text
    assert "Seq Scan" not in text, text
    assert await list_titles(large_gallery, ids=ids[7]) == ["7"]
