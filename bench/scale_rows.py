"""Fills the tables with up to ten million images, fast: in SQL, with triggers off and the indexes made afterwards.

The generated columns become ordinary ones, so that the fill can write their values: normalizing the text takes most of
an `INSERT`. So only reads and the changes of single rows are to be measured in such a database.
"""

import asyncio
import time
from collections.abc import Sequence

from gallery.adapters.postgres.database import Connection, Database

PART = 50_000  # rows of one statement
WRITERS = 2  # connections that fill at the same time
MAX_EVENTS = 1_000_000

PREPARE = """
    ALTER TABLE image DISABLE TRIGGER USER;
    ALTER TABLE image ALTER COLUMN search_text DROP EXPRESSION IF EXISTS;
    ALTER TABLE image ALTER COLUMN title_key DROP EXPRESSION IF EXISTS;
    ALTER TABLE image ALTER COLUMN taken_at DROP EXPRESSION IF EXISTS
"""
INDEXES = """
    SELECT indexname AS name, indexdef AS definition FROM pg_indexes
    WHERE tablename IN ('image', 'event') AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""
IMAGES = """
    INSERT INTO image (id, owner, title, description, alt, tags, original_name, mime_type, size, sha256, animated,
                       width, height, status, work_state, recipe, rendered_attempt, renditions, thumbhash, color, exif,
                       created_at, updated_at, next_attempt_at, enqueued_at, search_text, title_key, taken_at)
    SELECT gen_random_uuid(), 'everybody', initcap(title), description, '', tags, 'IMG_' || i || '.jpg', 'image/jpeg',
           1000000 + i * 7919::bigint % 9000000, md5(i::text), false, 4032, 3024, status,
           CASE status WHEN 'PENDING' THEN 'due' END, 'r1', 1, renditions,
           'VwgGFIKImGmHiHeGeHeIiGeHaHCHCHcI', '#778899',
           CASE WHEN taken IS NULL THEN '{}'::jsonb ELSE jsonb_build_object('camera', 'Canon EOS R6',
             'takenAt', to_char(taken, 'YYYY-MM-DD"T"HH24:MI:SS')) END,
           created, created, created, created,
           ' ' || title || ' ' || rtrim(translate(lower(description), '.', '')) || ' img ' || i || ' jpg'
             || CASE WHEN tags = '{}' THEN '' ELSE ' ' || array_to_string(tags, ' ') END,
           title, taken
    FROM (
        SELECT i, v[1 + i % 40 * 7919 % 40] || ' ' || v[1 + i / 40 % 40 * 104729 % 40] || ' ' || i AS title,
               CASE WHEN i % 2 = 0 THEN 'A lake in the evening light. ' ELSE 'A street on the way home. ' END
                 || CASE WHEN i <= 3 THEN 'heliotrope 🏔 ' ELSE '' END
                 || CASE WHEN i % 100 = 0 THEN 'saffron ' ELSE '' END
                 || CASE WHEN i % 500 = 0 THEN 'quartz ' ELSE '' END
                 || CASE WHEN i <= $3 / 2 THEN 'harbour' ELSE '' END AS description,
               CASE WHEN i <= 3 THEN ARRAY['scarce'] WHEN i % 2 = 0 THEN ARRAY['water', v[1 + i % 40]] ELSE '{}' END
                 AS tags,
               CASE WHEN i % 1000 = 0 THEN 'FAILED' WHEN i > $3 - least($3 / 100, 1000) THEN 'PENDING' ELSE 'READY' END
                 AS status,
               CASE WHEN i % 5 > 0 THEN
                 '2010-01-01'::timestamp + i * 7919::bigint % 4000000 * interval '97 s' END AS taken,
               '2020-01-01Z'::timestamptz + i * interval '1 s' AS created
        FROM generate_series($1::integer, $2::integer) i,
             (SELECT string_to_array('morning evening forest river garden window bridge castle flower market winter '
                'summer family dinner friend travel mountain beach cloud storm autumn spring portrait concert party '
                'wedding office birthday station harvest village church museum temple island desert canyon meadow '
                'sunset sunrise', ' ') v) v
    ) AS numbered, (
        SELECT jsonb_agg(jsonb_build_object('name', n::text, 'format', f, 'width', n, 'height', n, 'size', 40000))
            AS renditions
        FROM unnest(ARRAY[320, 960, 1920]) n, unnest(ARRAY['webp', 'jpeg']) f
    ) AS rendered
"""
EVENTS = """
    INSERT INTO event (number, owner, image_id, version, type, data)
    SELECT i, CASE WHEN i % 10 = 0 THEN 'everybody' ELSE 'owner ' || i % 1000 END, gen_random_uuid(), 3, 'image.ready',
           json_build_object('imageId', i, 'status', 'READY', 'version', 3, 'title', 'A lake in the evening light')
    FROM generate_series($1::integer, $2::integer) i
"""


async def fill(database: Database, size: int) -> float:
    """Replace all rows by `size` images of one owner and as many events, at most `MAX_EVENTS`. Returns seconds."""
    began = time.perf_counter()
    events = min(size, MAX_EVENTS)
    async with database.primary() as db:
        if await db.fetchval("SELECT count(*) FROM image") == size:
            return 0.0
        await db.execute("TRUNCATE image, event CASCADE")
        await db.execute(PREPARE)
        await _set_fsync(db, "off")
        indexes = [(row["name"], row["definition"]) for row in await db.fetch(INDEXES)]
        for name, _ in indexes:
            await db.execute(f"DROP INDEX {name}")
    await _in_parts(database, IMAGES, size, [size])
    await _in_parts(database, EVENTS, events, [])
    async with database.primary() as db:
        await db.execute("UPDATE event_numbers SET head = $1", events)
        await db.execute("SET maintenance_work_mem = '1GB'; SET max_parallel_maintenance_workers = 2")
        for _, definition in indexes:
            await db.execute(definition)
        for statement in (
            "RESET maintenance_work_mem",
            "VACUUM (ANALYZE) image",
            "VACUUM (ANALYZE) event",
            "CHECKPOINT",
        ):
            await db.execute(statement)  # VACUUM has to be alone
    return time.perf_counter() - began


async def sizes(database: Database) -> dict[str, int]:
    """Bytes of the tables `image` and `event` without indexes, and of each of their indexes."""
    async with database.primary() as db:
        rows = await db.fetch(
            "SELECT relname AS name, pg_table_size(oid) AS bytes FROM pg_class WHERE relname IN ('image', 'event') "
            "UNION ALL SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes "
            "WHERE relname IN ('image', 'event') ORDER BY bytes DESC"
        )
    return {row["name"]: row["bytes"] for row in rows}


async def _set_fsync(db: Connection, state: str) -> None:
    await db.execute(f"ALTER SYSTEM SET fsync = {state}")
    await db.execute("SELECT pg_reload_conf()")


async def _in_parts(database: Database, statement: str, size: int, arguments: Sequence[object]) -> None:
    starts = iter(range(1, size + 1, PART))

    async def write() -> None:
        async with database.primary() as db:
            await db.execute("SET synchronous_commit = off")
            for start in starts:
                await db.execute(statement, start, min(start + PART - 1, size), *arguments)

    await asyncio.gather(*(write() for _ in range(WRITERS)))
