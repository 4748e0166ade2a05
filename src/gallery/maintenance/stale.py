"""Renders the images of an older recipe again, in the maintenance lane.

The library is read in the order of its ids, in bounded batches. At most `MAX_WAITING` images wait for a worker at a
time, so that neither the queue nor other maintenance fills up. Everything is in the rows: a run that ends early is
continued by the next one, and a second run has nothing to do. READY images stay READY meanwhile.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from asyncpg import Record
from msgspec import Struct

from gallery.adapters.postgres.database import Database
from gallery.images import store, timeline
from gallery.images.jobs import enqueue, job_for
from gallery.images.model import ImageId
from gallery.images.outbox import Outbox
from gallery.images.timeline import Stage
from gallery.jobs import pause
from gallery.jobs import workers as registry
from gallery.jobs.queue import Queue
from gallery.jobs.workers import WorkerState

MAX_SCANNED = 10_000  # rows read by one statement
BATCH = 100  # images made due in one transaction
MAX_WAITING = 1_000
POLL_SECONDS = 1.0

COUNT = """
    WITH page AS MATERIALIZED (
        SELECT id, recipe, status = 'READY' AND deleted_at IS NULL AS shown FROM image
        WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2
    )
    SELECT recipe, shown, count(*) AS images, (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last
    FROM page GROUP BY recipe, shown
"""
FIND = """
    WITH page AS MATERIALIZED (
        SELECT id, recipe, rendered_attempt, status = 'READY' AND deleted_at IS NULL AS shown FROM image
        WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2
    ), stale AS (
        SELECT id, rendered_attempt FROM page WHERE shown AND recipe IS DISTINCT FROM $3 ORDER BY id LIMIT $4
    )
    SELECT stale.*, (SELECT count(*) FROM page) AS scanned, (SELECT id FROM page ORDER BY id DESC LIMIT 1) AS last
    FROM (VALUES (1)) AS one LEFT JOIN stale ON true ORDER BY id
"""
SETTLED = "SELECT id, recipe, rendered_attempt FROM image WHERE id = ANY($1::uuid[]) AND work_state IS NULL"
PRESENT = "SELECT id FROM image WHERE id = ANY($1::uuid[]) AND deleted_at IS NULL"


class StaleProgress(Struct, frozen=True, rename="camel"):
    """`stale` images had an older recipe at the start; `queued` wait for a worker now, `rendered` have new renditions,
    `failed` could not be rendered and keep their old ones; `workers` are alive. `etaSeconds` is null while it cannot be
    told. `otherRecipe` is the version by which a worker has rendered an image, if it is not the present one: then the
    run has ended.
    """

    stale: int
    queued: int = 0
    rendered: int = 0
    failed: int = 0
    paused: bool = False
    workers: int = 0
    eta_seconds: int | None = None
    other_recipe: str | None = None


class Stale:
    def __init__(self, database: Database, queue: Queue, outbox: Outbox, recipe: str) -> None:
        self._database = database
        self._queue = queue
        self._outbox = outbox
        self.recipe = recipe  # the present one's version

    async def count(self) -> dict[str, int]:
        """The number of READY images of each older recipe, by its version. Raises `DatabaseUnavailable`."""
        counts: Counter[str] = Counter()
        last = None
        while True:
            async with self._database.primary() as db:
                rows = await db.fetch(COUNT, last, MAX_SCANNED)
            counts.update({str(row["recipe"]): row["images"] for row in rows if row["shown"]})
            if sum(row["images"] for row in rows) < MAX_SCANNED:
                return {version: images for version, images in sorted(counts.items()) if version != self.recipe}
            last = rows[0]["last"]

    async def reprocess(self, *, wait: bool = False) -> AsyncIterator[StaleProgress]:
        """Make all of them due, a bounded number at a time. With `wait`, until all are rendered, too.

        Yields the progress about once a second, and at the end. Raises `Unavailable`.
        """
        run = _Run(sum((await self.count()).values()))
        yield run.progress()
        shown_at, scanning, last = time.monotonic(), True, None
        while (scanning or (wait and run.waiting)) and run.other_recipe is None:
            if scanning and len(run.waiting) <= MAX_WAITING - BATCH:
                found = await self._find(last)
                await self._make_due([row["id"] for row in found.stale])
                run.waiting |= {row["id"]: row["rendered_attempt"] for row in found.stale}
                scanning, last = found.more, found.last
            else:
                await asyncio.sleep(POLL_SECONDS)
            await self._settle(run)
            if time.monotonic() - shown_at >= POLL_SECONDS:
                shown_at = time.monotonic()
                yield run.progress()
        yield run.progress()

    async def _find(self, last: object) -> "_Found":
        async with self._database.primary() as db:
            rows = await db.fetch(FIND, last, MAX_SCANNED, self.recipe, BATCH)
        stale = [row for row in rows if row["id"] is not None]
        if len(stale) == BATCH:
            return _Found(stale, stale[-1]["id"], more=True)
        return _Found(stale, rows[0]["last"], more=rows[0]["scanned"] == MAX_SCANNED)

    async def _make_due(self, ids: Sequence[ImageId]) -> None:
        """Those that wait for a worker already, from an earlier run, stay as they are."""
        if not ids:
            return
        async with self._database.writing() as db:
            images = await store.reprocess_outdated(db, ids, self.recipe)
            for image in images:
                await self._outbox.add(db, "image.updated", image)
                await timeline.add(db, Stage.REPROCESS, image)
        for image in images:
            await self._outbox.publish(image)
            await enqueue(self._queue, self._database, job_for(image))

    async def _settle(self, run: "_Run") -> None:
        """Takes the images that are done, or deleted, off the waiting ones."""
        async with self._database.primary() as db:
            settled = await db.fetch(SETTLED, list(run.waiting))
            present = {row["id"] for row in await db.fetch(PRESENT, list(run.waiting))}
            run.paused = await pause.since(db) is not None
            run.workers = sum(each.presence is WorkerState.ALIVE for each in await registry.workers(db))
        for gone in run.waiting.keys() - present:
            del run.waiting[gone]
            run.stale -= 1
        for row in settled:
            if row["id"] not in run.waiting:
                continue
            before = run.waiting.pop(row["id"])
            if row["recipe"] == self.recipe:
                run.rendered += 1
            elif row["rendered_attempt"] == before:
                run.failed += 1
            else:
                run.other_recipe = row["recipe"]


class _Found(Struct, frozen=True):
    """Stale images, and the id after which the next search begins."""

    stale: list[Record]
    last: object
    more: bool


class _Run:
    """`waiting` are images that have been made due, each with the attempt that its present renditions are of."""

    def __init__(self, stale: int) -> None:
        self.stale = stale
        self.rendered = self.failed = 0
        self.paused = False
        self.workers = 0
        self.other_recipe: str | None = None
        self.waiting: dict[ImageId, int | None] = {}
        self._began = time.monotonic()

    def progress(self) -> StaleProgress:
        done, seconds = self.rendered + self.failed, time.monotonic() - self._began
        eta = round(seconds / done * max(0, self.stale - done)) if done else None
        return StaleProgress(
            self.stale,
            len(self.waiting),
            self.rendered,
            self.failed,
            self.paused,
            self.workers,
            eta,
            self.other_recipe,
        )
