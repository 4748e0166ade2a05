"""Measures a page of a list among a thousand to a million images: `python bench/listing.py [max_images [folder]]`.

Fills an embedded PostgreSQL, runs each query many times, and prints a table of p50 and p99 in milliseconds, a column
for each number of images, then the plans at the largest. No cache, no HTTP: only the statements and the rows' decoding.
"""

import asyncio
import math
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from gallery.access.model import SHARED_OWNER
from gallery.adapters.postgres.database import Connection, Database, open_database
from gallery.adapters.postgres.migrations import migrate
from gallery.embedded.servers import open_servers
from gallery.images import listing
from gallery.images.list_query import ListQuery, Sort
from gallery.images.model import Status
from gallery.settings import Settings

SIZES = (1_000, 10_000, 100_000, 1_000_000)
ROUNDS = 200
TIME_LIMIT_SECONDS = 15  # for one kind of query

FILL = """
    INSERT INTO image (id, owner, title, description, alt, tags, original_name, mime_type, size, sha256, animated,
                       width, height, status, recipe, rendered_attempt, renditions, thumbhash, color, exif, created_at)
    SELECT gen_random_uuid(), 'everybody',
           initcap(v[1 + i % 40 * 7919 % 40] || ' ' || v[1 + i / 40 % 40 * 104729 % 40]) || ' ' || i,
           CASE WHEN i % 2 = 0 THEN 'A lake in the evening light. ' ELSE 'A street on the way home. ' END
             || CASE WHEN i <= 3 THEN 'heliotrope ' ELSE '' END
             || CASE WHEN i % 100 = 0 THEN 'saffron ' ELSE '' END || CASE WHEN i % 500 = 0 THEN 'quartz ' ELSE '' END
             || CASE WHEN i <= $1 / 2 THEN 'harbour' ELSE '' END,
           '', CASE WHEN i <= 3 THEN ARRAY['scarce'] WHEN i % 2 = 0 THEN ARRAY['water', v[1 + i % 40]] ELSE '{}' END,
           'IMG_' || i || '.jpg', 'image/jpeg', 1000000 + i * 7919::bigint % 9000000, md5(i::text), false, 4032, 3024,
           CASE WHEN i % 1000 = 0 THEN 'FAILED' WHEN i > $1 * 0.99 THEN 'PENDING' ELSE 'READY' END, 'r1', 1,
           (SELECT jsonb_agg(jsonb_build_object('name', n::text, 'format', f, 'width', n, 'height', n, 'size', 40000))
            FROM unnest(ARRAY[320, 960, 1920]) n, unnest(ARRAY['webp', 'jpeg']) f),
           'VwgGFIKImGmHiHeGeHeIiGeHaHCHCHcI', '#778899',
           CASE WHEN i % 5 > 0 THEN jsonb_build_object('camera', 'Canon EOS R6', 'takenAt',
             to_char('2010-01-01'::timestamp + i * 7919::bigint % 4000000 * interval '97 s',
             'YYYY-MM-DD"T"HH24:MI:SS'))
           ELSE '{}' END,
           '2020-01-01Z'::timestamptz + i * interval '1 s'
    FROM generate_series(1, $1::integer) i,
         (SELECT string_to_array('morning evening forest river garden window bridge castle flower market winter '
            'summer family dinner friend travel mountain beach cloud storm autumn spring portrait concert party '
            'wedding office birthday station harvest village church museum temple island desert canyon meadow '
            'sunset sunrise', ' ') v) v
"""


def queries() -> Iterator[tuple[str, ListQuery]]:
    for sort in Sort:
        yield f"sort `{sort}`", ListQuery(sort=sort)
    yield "status: nearly all", ListQuery(statuses=[Status.READY])
    yield "status: one of 1,000", ListQuery(statuses=[Status.FAILED])
    yield "two statuses", ListQuery(statuses=[Status.FAILED, Status.READY])
    yield "status, by title", ListQuery(statuses=[Status.FAILED], sort=Sort.TITLE)
    yield "tag: half of all", ListQuery(tags=["water"])
    yield "tag: three images", ListQuery(tags=["scarce"])
    yield "search: half of all", ListQuery(words=["lake"])
    yield "search: half of all, two words", ListQuery(words=["lake", "evening"])
    yield "search: half of all, by title", ListQuery(words=["lake"], sort=Sort.TITLE)
    yield "search: one of 100", ListQuery(words=["saffron"])
    yield "search: one of 500", ListQuery(words=["quartz"])
    yield "search: three images", ListQuery(words=["heliotrope"])
    yield "search: three images, by a part", ListQuery(words=["liotro"])
    yield "search: three images, two letters", ListQuery(words=["he"])
    yield "search: one emoji, in no image", ListQuery(words=["🌊"])
    yield "search: no image", ListQuery(words=["xylophone"])
    yield "search: the older half", ListQuery(words=["harbour"])


async def main(max_images: int, folder: Path) -> None:
    figures: dict[str, list[str]] = {}
    sizes = [size for size in SIZES if size <= max_images]
    async with open_servers(folder) as servers:
        await asyncio.to_thread(migrate, str(servers.database_url))
        settings = replace(Settings().database, url=servers.database_url, timeout=600)
        async with open_database(settings) as database:
            for size in sizes:
                await fill(database, size)
                await measure(database, size, figures)
            print(f"\n| images of one owner | {' | '.join(f'{size:,}' for size in sizes)} |")
            print("|---|" + "---|" * len(sizes))
            for kind, cells in figures.items():
                print(f"| {kind} | {' | '.join(cells)} |")
            await print_plans(database)


async def fill(database: Database, size: int) -> None:
    began = time.perf_counter()
    async with database.primary() as db:
        await db.execute("TRUNCATE image")
        index = await db.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = 'image_search'")
        await db.execute("DROP INDEX image_search; SET maintenance_work_mem = '512MB'")
        await db.execute(FILL.replace("$1", str(size)))
        await db.execute(index)
        await db.execute("VACUUM (ANALYZE) image")
        await db.execute("CHECKPOINT; RESET maintenance_work_mem")
        used = await db.fetchval("SELECT pg_size_pretty(pg_table_size('image'))")
        indexes = await db.fetch(
            "SELECT indexrelname, pg_size_pretty(pg_relation_size(indexrelid)) FROM pg_stat_user_indexes "
            "WHERE relname = 'image' AND pg_relation_size(indexrelid) > 1000000"
        )
    log(f"{size:,} images in {time.perf_counter() - began:.0f} s; table {used}; {dict(map(tuple, indexes))}")


async def measure(database: Database, size: int, figures: dict[str, list[str]]) -> None:
    rows = await sample_rows(database, size)
    ids = [row["id"] for row in rows]
    for kind, query in queries():
        record_times(figures, kind, await times(database, lambda q=query: q))
    for sort in Sort:
        column = listing.ORDERS[sort].column

        def random_page(sort: Sort = sort, column: str = column) -> ListQuery:
            row = random.choice(rows)
            query = ListQuery(sort=sort)
            return replace(query, after=query.cursor(row[column], row["id"]))

        record_times(figures, f"sort `{sort}`, anywhere", await times(database, random_page))
    record_times(figures, "50 by `ids`", await times(database, lambda: ListQuery(ids=random.sample(ids, 50))))


async def times(database: Database, make_query: Callable[[], ListQuery]) -> list[float]:
    """Sorted seconds of at least five runs, and of as many as `ROUNDS` and `TIME_LIMIT_SECONDS` permit."""
    found: list[float] = []
    async with database.primary() as db:
        await listing.page(db, SHARED_OWNER, make_query())
        while len(found) < ROUNDS and (len(found) < 5 or sum(found) < TIME_LIMIT_SECONDS):
            query = make_query()
            began = time.perf_counter()
            await listing.page(db, SHARED_OWNER, query)
            found.append(time.perf_counter() - began)
    return sorted(found)


def record_times(figures: dict[str, list[str]], kind: str, found: list[float]) -> None:
    p50, p99 = (found[max(0, math.ceil(len(found) * part) - 1)] * 1000 for part in (0.5, 0.99))
    figures.setdefault(kind, []).append(f"{p50:.1f} / {p99:.1f}")
    log(f"  {kind}: {p50:.1f} / {p99:.1f} ms of {len(found)}")


async def sample_rows(database: Database, size: int) -> list[dict[str, object]]:
    seconds = random.sample(range(60, size), min(500, size - 60))
    columns = {"id", *(order.column for order in listing.ORDERS.values())}
    async with database.primary() as db:
        rows = await db.fetch(
            f"SELECT {', '.join(columns)} FROM image WHERE owner = 'everybody' AND deleted_at IS NULL "
            "AND created_at = ANY (SELECT '2020-01-01Z'::timestamptz + s * interval '1 s' FROM unnest($1::int[]) s)",
            seconds,
        )
    return [dict(row) for row in rows]


async def print_plans(database: Database) -> None:
    async with database.primary() as db:
        for words in (["lake"], ["heliotrope"]):
            query = listing.ListStatements(SHARED_OWNER, ListQuery(words=words), words, 51)
            for name, planner_settings, statement in (
                ("near", listing.USE_SORT_INDEX, query.bounded_scan()),
                ("few", listing.USE_FILTER_INDEX, query.filter_and_sort()),
                ("rest", listing.USE_SORT_INDEX, query.full_scan()),
            ):
                print(f"\n{words[0]}, {name}:\n{await explain(db, planner_settings, statement, query.parameters)}")


async def explain(db: Connection, planner_settings: str, statement: str, values: list[object]) -> str:
    async with db.transaction():
        await db.execute(planner_settings)
        rows = await db.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) {statement}", *values)
    return "\n".join(row[0] for row in rows)


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]
    if len(sys.argv) > 2:
        asyncio.run(main(largest, Path(sys.argv[2])))
    else:
        with tempfile.TemporaryDirectory(prefix="gallery-bench-") as temporary:
            asyncio.run(main(largest, Path(temporary)))
