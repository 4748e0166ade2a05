"""PostgreSQL's plans of the sweep while twenty thousand images wait: each step reads about what it returns."""

import re

import pytest

from databases import application_environment
from gallery.processing import sweep
from gallery.settings import Settings
from gallery.wiring import open_gallery

FILL = """
    INSERT INTO image (id, owner, title, original_name, mime_type, size, sha256, animated, next_attempt_at, enqueued_at)
    SELECT gen_random_uuid(), 'owner ' || i % 3, 'x', 'x.jpg', 'image/jpeg', 1, i::text, false,
           now() - interval '2 hours' + i * interval '0.1 s',
           CASE WHEN i <= 15000 THEN now() ELSE now() - interval '1 hour' END
    FROM generate_series(1, 20000) i
"""
CLAIMED = "UPDATE image SET work_state = 'claimed', lease_until = next_attempt_at, status = 'PROCESSING'"


@pytest.fixture(scope="module")
async def long_backlog(servers, tmp_path_factory):
    """Of 20,000 images that have waited for an hour or two, a sweep has just enqueued the first 15,000."""
    environment = await application_environment(servers, tmp_path_factory.mktemp("backlog"))
    async with open_gallery(Settings.read({**environment, "GALLERY_DATABASE__TIMEOUT": "60"})) as gallery:
        async with gallery.database.writing() as db:
            await db.execute(FILL)
            await db.execute("ANALYZE image")
        yield gallery


async def explain(db, statement, *arguments):
    rows = await db.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", *arguments)
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize(
    ("statement", "index"), [(sweep.UNCLAIMED, "image_due"), (sweep.LEASE_EXPIRED, "image_leased")]
)
async def test_a_batch_does_not_read_the_batches_before_it_again(long_backlog, statement, index):
    async with long_backlog.database.primary() as db:
        transaction = db.transaction()
        await transaction.start()
        if index == "image_leased":
            await db.execute(CLAIMED)
        before = await db.fetchval("SELECT now() - interval '1 minute'")
        first = await db.fetch(statement, before, sweep.BATCH, None)
        text = await explain(db, statement, before, sweep.BATCH, first[-1]["since"])
        await transaction.rollback()
    assert f"using {index} " in text, text
    assert "Removed by Filter" not in text, text
    assert "Sort" not in text, text


async def test_each_owners_oldest_image_is_found_by_one_step_of_the_index(long_backlog):
    async with long_backlog.database.primary() as db:
        text = await explain(db, sweep.OLDEST_PER_OWNER, sweep.STARVING_AFTER, sweep.BATCH)
        rows = await db.fetch(sweep.OLDEST_PER_OWNER, sweep.STARVING_AFTER, sweep.BATCH)
        oldest = {row["id"] for row in rows}
        expected = await db.fetch("SELECT DISTINCT ON (owner) id FROM image ORDER BY owner, next_attempt_at")
    assert oldest == {row["id"] for row in expected}
    assert "using image_oldest_due " in text, text
    assert "Seq Scan" not in text, text
    assert max(map(float, re.findall(r"actual rows=([\d.]+)", text))) <= len(rows), text
