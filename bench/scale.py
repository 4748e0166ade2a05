"""Group `scale`: PostgreSQL's part of every operation among a thousand to ten million images.

Runs each operation many times on an embedded PostgreSQL that is filled for it. No cache and no HTTP: the statements,
and the decoding of rows. `python -m bench.scale --sizes 1000,10000000 [--folder DIR] [--only WORD]` takes other numbers
of images; ten million need 30 GB. `--folder` keeps the filled database, for the next run.
"""

import argparse
import asyncio
import math
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from bench import results, scale_rows
from bench.results import Goal, Result, Table
from bench.servers import Servers
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
GROWTH_GOAL = 1.5
TOLERANCE_MS = 1.0  # of a p99 that is shorter than a pause of the machine
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
    yield "sweep: overdue images, none", lambda db: db.fetch(sweep.UNCLAIMED, LONG_AGO, sweep.BATCH, None)
    yield "sweep: expired leases, none", lambda db: db.fetch(sweep.LEASE_EXPIRED, LONG_AGO, sweep.BATCH, None)
    yield "sweep: oldest per owner", lambda db: db.fetch(sweep.OLDEST_PER_OWNER, sweep.STARVING_AFTER, sweep.BATCH)
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


class Measured(Struct):
    """What was measured at each size, in milliseconds (p50 and p99), seconds and bytes."""

    sizes: list[int] = []
    times: dict[str, list[tuple[float, float]]] = {}
    start_seconds: list[float] = []
    bytes: list[dict[str, int]] = []


async def measure(servers: Servers) -> Result:
    return _result(await measure_sizes(SIZES, servers.folder / "scale"))


async def measure_sizes(sizes: Sequence[int], folder: Path, only: str = "") -> Measured:
    measured = Measured()
    async with open_servers(folder) as servers:
        await asyncio.to_thread(migrate, str(servers.database_url))
        settings = replace(Settings().database, url=servers.database_url, timeout=3600)
        async with open_database(settings) as database:
            for size in sizes:
                seconds = await scale_rows.fill(database, size)
                measured.sizes.append(size)
                measured.bytes.append(await scale_rows.sizes(database))
                log(f"{size:,} images, filled in {seconds:.0f} s")
                await measure_operations(database, size, measured, only)
                measured.start_seconds.append(await start_seconds(servers, folder / "start"))
    return measured


async def measure_operations(database: Database, size: int, measured: Measured, only: str) -> None:
    rows = await sample_rows(database, size)
    for kind, operation in operations(rows, min(size, scale_rows.MAX_EVENTS)):
        if only in kind:
            found = await times(database, operation)
            p50, p99 = (found[max(0, math.ceil(len(found) * part) - 1)] * 1000 for part in (0.5, 0.99))
            measured.times.setdefault(kind, []).append((p50, p99))
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


def _result(measured: Measured) -> Result:
    columns = [f"{size:,}" for size in measured.sizes]
    rows = [[kind, *(f"{p50:.1f} / {p99:.1f}" for p50, p99 in cells)] for kind, cells in measured.times.items()]
    rows.append(["start of `gallery serve`, s", *(f"{seconds:.2f}" for seconds in measured.start_seconds)])
    relations = sorted(measured.bytes[-1], key=lambda name: -measured.bytes[-1][name])
    space = [[name, *(f"{found.get(name, 0) / 1e6:,.1f}" for found in measured.bytes)] for name in relations]
    grown = [kind for kind, cells in measured.times.items() if cells[-1][1] > GROWTH_GOAL * cells[0][1] + TOLERANCE_MS]
    flat = 1 - len(grown) / len(measured.times)
    return Result(
        group="scale",
        goals=[
            Goal(
                f"operations whose p99 at {columns[-1]} images is at most {GROWTH_GOAL} × that at {columns[0]} (or "
                f"{TOLERANCE_MS} ms more)",
                100,
                flat * 100,
                " %",
                at_least=True,
            )
        ],
        tables=[
            Table("Time in ms, p50 / p99, by the number of images of one owner", ["operation", *columns], rows),
            Table("Size in MB", ["table or index", *columns], space),
        ],
        notes=[f"They grow: {', '.join(grown)}."] if grown else [],
        rounds={
            f"{kind}, p50 and p99, ms": [ms for cell in cells for ms in cell] for kind, cells in measured.times.items()
        },
    )


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.scale")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of images, separated by commas")
    parser.add_argument("--folder", type=Path, help="keeps the filled database there")
    parser.add_argument("--only", default="", help="operations whose name contains this")
    parser.add_argument("--results", type=Path, help="where the JSON file goes; without it, nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gallery-bench-") as temporary:
        chosen = [int(size) for size in given.sizes.split(",")]
        found = asyncio.run(measure_sizes(chosen, given.folder or Path(temporary), given.only))
        results.finish(_result(found), given.results or Path(temporary), None)
