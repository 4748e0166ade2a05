"""Measures PostgreSQL's part of every operation among a thousand to ten million images.

`python bench/scale.py [--sizes 1000,100000,…] [--folder DIR] [--json FILE] [--only WORD]`. Fills an embedded PostgreSQL
of its own, runs each operation many times, and prints a table of p50 and p99 in milliseconds with a column for each
number of images, then the sizes of tables and indexes. No cache and no HTTP: the statements, and the decoding of rows.
"""

import argparse
import asyncio
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import scale_rows
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from gallery.access.model import SHARED_OWNER
from gallery.adapters.postgres.database import Connection, Database, open_database
from gallery.adapters.postgres.migrations import migrate
from gallery.admin import store as admin
from gallery.embedded.datadir import RunInfo
from gallery.embedded.servers import open_servers
from gallery.images import listing, readings, store
from gallery.images.list_query import ListQuery, Sort
from gallery.images.model import Edit, ImageId, Status
from gallery.notifications import store as event_store
from gallery.processing import sweep
from gallery.settings import Settings
from gallery_processes import api, base_environment

SIZES = (1_000, 100_000, 1_000_000)
ROUNDS = 200
TIME_LIMIT_SECONDS = 15  # for one operation
WARM_UP_SECONDS = 2
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

Operation = Callable[[Connection], Awaitable[object]]


def searches() -> Iterator[tuple[str, ListQuery]]:
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
    yield "search: three images, an emoji", ListQuery(words=["🏔"])
    yield "search: one emoji, in no image", ListQuery(words=["🌊"])
    yield "search: no image", ListQuery(words=["xylophone"])
    yield "search: the older half", ListQuery(words=["harbour"])


def operations(rows: list[dict[str, object]], events: int) -> Iterator[tuple[str, Operation]]:
    """Each operation by its name; it gets a connection."""
    ids = [ImageId(str(row["id"])) for row in rows]
    for kind, query in searches():
        yield kind, page_of(lambda query=query: query)
    for sort in Sort:
        yield f"sort `{sort}`, anywhere", page_of(lambda sort=sort: page_from_the_middle(rows, sort))
    yield "50 by `ids`", page_of(lambda: ListQuery(ids=random.sample(ids, 50)))
    yield "get", lambda db: store.find(db, random.choice(ids))
    yield "edit", rolled_back(lambda db: store.edit(db, random.choice(ids), None, Edit(title="A new title"), None))
    yield "claim", rolled_back(claim_oldest)
    yield "sweep: overdue images, none", lambda db: db.fetch(sweep.UNCLAIMED, LONG_AGO, sweep.BATCH)
    yield "sweep: expired leases, none", lambda db: db.fetch(sweep.LEASE_EXPIRED, LONG_AGO, sweep.BATCH)
    yield "sweep: purge, none", rolled_back(lambda db: db.execute(sweep.PURGE, sweep.PURGE_AFTER, sweep.BATCH))
    yield "metrics: images in flight", lambda db: db.fetch(readings.IN_FLIGHT)
    yield "metrics: images by status", lambda db: db.fetchrow(readings.STATISTICS)
    yield "queue page: waiting images", admin.backlog
    yield "queue page: failures", lambda db: admin.failures(db, None, None, 50)
    yield "queue page: reasons", admin.reasons
    yield "events: the newest 50", lambda db: db.fetch(event_store.READ, events - 50, 500)
    yield (
        "events: a replay of 500",
        lambda db: db.fetch(event_store.REPLAY, SHARED_OWNER, random.randrange(events), events, 500),
    )


def page_of(make_query: Callable[[], ListQuery]) -> Operation:
    return lambda db: listing.page(db, SHARED_OWNER, make_query())


def page_from_the_middle(rows: list[dict[str, object]], sort: Sort) -> ListQuery:
    row = random.choice(rows)
    query = ListQuery(sort=sort)
    return replace(query, after=query.cursor(row[listing.ORDERS[sort].column], row["id"]))


def rolled_back(change: Operation) -> Operation:
    """The change without its commit, whose time is the disk's."""

    async def run(db: Connection) -> None:
        transaction = db.transaction()
        await transaction.start()
        await change(db)
        await transaction.rollback()

    return run


async def claim_oldest(db: Connection) -> None:
    image = await db.fetchval(
        "SELECT id FROM image WHERE work_state = 'due' AND deleted_at IS NULL AND next_attempt_at <= now() "
        "ORDER BY next_attempt_at LIMIT 1"
    )
    assert await store.claim(db, image, timedelta(seconds=15), "bench") is not None


async def main(sizes: Sequence[int], folder: Path, only: str) -> dict[str, Any]:
    results: dict[str, Any] = {"images": list(sizes), "p50 / p99, ms": {}, "bytes": {}, "fill, s": {}, "start, s": {}}
    async with open_servers(folder) as servers:
        await asyncio.to_thread(migrate, str(servers.database_url))
        settings = replace(Settings().database, url=servers.database_url, timeout=3600)
        async with open_database(settings) as database:
            for size in sizes:
                results["fill, s"][size] = round(await scale_rows.fill(database, size))
                results["bytes"][size] = await scale_rows.sizes(database)
                log(f"{size:,} images in {results['fill, s'][size]} s: {results['bytes'][size]}")
                await measure(database, size, results["p50 / p99, ms"], only)
                results["start, s"][size] = await start_seconds(servers, folder / "start")
    return results


async def measure(database: Database, size: int, figures: dict[str, list[list[float]]], only: str) -> None:
    rows = await sample_rows(database, size)
    for kind, operation in operations(rows, min(size, scale_rows.MAX_EVENTS)):
        if only in kind:
            found = await times(database, operation)
            p50, p99 = (found[max(0, math.ceil(len(found) * part) - 1)] * 1000 for part in (0.5, 0.99))
            figures.setdefault(kind, []).append([round(p50, 2), round(p99, 2)])
            log(f"  {kind}: {p50:.1f} / {p99:.1f} ms of {len(found)}")


async def times(database: Database, operation: Operation) -> list[float]:
    """Sorted seconds of at least five runs, and of as many as `ROUNDS` and `TIME_LIMIT_SECONDS` permit."""
    found: list[float] = []
    async with database.primary() as db:
        began = time.perf_counter()
        for _ in range(20):
            await operation(db)  # warms the caches
            if time.perf_counter() - began > WARM_UP_SECONDS:
                break
        while len(found) < ROUNDS and (len(found) < 5 or sum(found) < TIME_LIMIT_SECONDS):
            began = time.perf_counter()
            await operation(db)
            found.append(time.perf_counter() - began)
    return sorted(found)


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


async def start_seconds(servers: RunInfo, folder: Path) -> float:
    """From the command to `/readyz` of `gallery serve`."""
    environment = base_environment() | {
        "DATABASE_URL": str(servers.database_url),
        "REDIS_URL": str(servers.redis_url),
        "GALLERY_DATA_DIR": str(folder / "data"),
    }
    began = time.perf_counter()
    async with api(environment, folder):
        return round(time.perf_counter() - began, 2)


def print_tables(results: dict[str, Any]) -> None:
    sizes = results["images"]
    print(f"\n| p50 / p99 in ms, images of one owner | {' | '.join(f'{size:,}' for size in sizes)} |")
    print("|---|" + "---|" * len(sizes))
    for kind, cells in results["p50 / p99, ms"].items():
        print(f"| {kind} | {' | '.join(f'{p50:.1f} / {p99:.1f}' for p50, p99 in cells)} |")
    print(f"| start of the API, s | {' | '.join(str(s) for s in results['start, s'].values())} |")
    for name in next(reversed(results["bytes"].values())):
        cells = [f"{found.get(name, 0) / 1e6:,.1f}" for found in results["bytes"].values()]
        print(f"| {name}, MB | {' | '.join(cells)} |")


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--folder", type=Path, help="keeps the filled database there")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gallery-bench-") as temporary:
        chosen = [int(size) for size in given.sizes.split(",")]
        results = asyncio.run(main(chosen, given.folder or Path(temporary), given.only))
    print_tables(results)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))
