"""`gallery reprocess --stale`: images of an older recipe are rendered again, bounded, resumable, and never twice."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

import photos
from credentials import run_command
from factories import CALLER, upload_image
from gallery.images.model import Lane, Status
from gallery.maintenance import stale as module
from gallery.settings import Settings
from gallery.wiring import open_gallery, open_processing, read_recipe

NARROW = {"GALLERY_RENDITIONS__WIDTHS": "100,200"}


@asynccontextmanager
async def gallery_with(environment, **more):
    async with open_gallery(Settings.read({**environment, **more})) as gallery:
        yield gallery


@asynccontextmanager
async def worker(gallery):
    """Processes all due images until the end of the block."""

    async def work(processing):
        while True:
            async with gallery.database.primary() as db:
                due = await db.fetch("SELECT id FROM image WHERE work_state = 'due' AND deleted_at IS NULL")
            for row in due:
                await processing.process(row["id"])
            await asyncio.sleep(0.05)

    async with open_processing(gallery, name="worker") as processing:
        working = asyncio.create_task(work(processing))
        try:
            yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def library(gallery, images, content=None):
    """READY images of the settings' recipe."""
    found = [await upload_image(gallery, content) for _ in range(images)]
    async with open_processing(gallery, name="worker") as processing:
        for image in found:
            await processing.process(image.id)
    return [image.id for image in found]


async def run(gallery, **options):
    return [progress async for progress in gallery.stale.reprocess(**options)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)


async def test_images_of_an_older_recipe_are_rendered_again_and_stay_ready(environment, monkeypatch):
    monkeypatch.setattr(module, "MAX_SCANNED", 2)
    monkeypatch.setattr(module, "BATCH", 2)
    async with gallery_with(environment) as old:
        ids = await library(old, 5)
        assert await old.stale.count() == {}
        version = old.recipe.version
    async with gallery_with(environment, **NARROW) as new, worker(new):
        assert await new.stale.count() == {version: 5}
        progress = await run(new, wait=True)
        assert (progress[0].stale, progress[0].rendered) == (5, 0)
        assert (progress[-1].rendered, progress[-1].queued, progress[-1].failed) == (5, 0, 0)
        for image_id in ids:
            image = await new.images.get(CALLER, image_id)
            assert (image.status, image.recipe, image.lane) == (Status.READY, new.recipe.version, Lane.MAINTENANCE)
            assert {rendition.name for rendition in image.renditions} == {"100", "200"}
        assert await new.stale.count() == {}
        assert {(p.stale, p.queued) for p in await run(new, wait=True)} == {(0, 0)}, "a second run has nothing to do"


async def test_no_more_images_than_the_bound_wait_at_a_time(environment, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "MAX_WAITING", 4)
    async with gallery_with(environment) as old:
        await library(old, 7)
    async with gallery_with(environment, **NARROW) as new:
        first = asyncio.create_task(run(new))
        await asyncio.sleep(1)
        async with new.database.primary() as db:
            assert await db.fetchval("SELECT count(*) FROM image WHERE work_state = 'due'") == 4
        assert not first.done()
        async with worker(new):
            done = (await first)[-1]
            assert done.rendered + done.queued == 7


async def test_a_run_that_was_stopped_is_continued_by_the_next(environment):
    async with gallery_with(environment) as old:
        await library(old, 3)
    async with gallery_with(environment, **NARROW) as new:
        stopped = (await run(new))[-1]
        assert (stopped.queued, stopped.rendered) == (3, 0)
        async with new.database.primary() as db:
            versions = await db.fetch("SELECT version FROM image ORDER BY id")
        again = (await run(new))[-1]
        assert again.queued == 3, "those that wait already are followed"
        async with new.database.primary() as db:
            assert await db.fetch("SELECT version FROM image ORDER BY id") == versions, "and not made due twice"
        async with worker(new):
            assert (await run(new, wait=True))[-1].rendered == 3


async def test_deleted_images_and_those_that_cannot_be_rendered_end_the_wait(environment):
    async with gallery_with(environment) as old:
        deleted, good = await library(old, 2)
        (large,) = await library(old, 1, photos.a_png(1600, 1200))
    async with gallery_with(environment, **NARROW, GALLERY_UPLOAD__MAX_PIXELS="1500000") as new:
        following = asyncio.create_task(run(new, wait=True))
        await asyncio.sleep(0.3)
        await new.images.delete(CALLER, deleted)
        async with worker(new):
            done = (await following)[-1]
        assert (done.stale, done.rendered, done.failed, done.queued) == (2, 1, 1, 0)
        assert (await new.images.get(CALLER, large)).status is Status.READY, "with its older renditions"
        assert (await new.images.get(CALLER, good)).recipe == new.recipe.version


async def test_a_worker_with_another_recipe_ends_the_run(environment):
    async with gallery_with(environment) as old:
        await library(old, 2)
        async with gallery_with(environment, **NARROW) as new, worker(old):
            done = (await run(new, wait=True))[-1]
        assert done.other_recipe == old.recipe.version
        assert done.rendered == 0


async def test_failed_and_pending_images_are_not_stale(environment):
    async with gallery_with(environment) as old:
        await upload_image(old)
        (image,) = await library(old, 1)
        async with old.database.writing() as db:
            await db.execute("UPDATE image SET status = 'FAILED' WHERE id = $1", image)
    async with gallery_with(environment, **NARROW) as new:
        assert await new.stale.count() == {}


async def test_the_command_prints_the_recipes_and_a_summary(environment):
    async with gallery_with(environment) as old:
        await library(old, 2)
    narrow = {**environment, **NARROW}
    version, present = old.recipe.version, read_recipe(Settings.read(narrow)).version
    code, output, errors = await run_command(narrow, "reprocess", "--stale", "--dry-run")
    assert (code, output) == (0, f"2 images of the recipe {version}\n"), errors
    code, output, _ = await run_command(narrow, "reprocess", "--stale", "--json")
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert lines[-2]["queued"] == 2
    assert lines[-1] == {
        "recipe": present,
        "recipes": {version: 2},
        "stale": 2,
        "rendered": 0,
        "failed": 0,
        "left": 2,
    }
    code, output, _ = await run_command(environment, "reprocess", "--stale", "--dry-run")
    assert (code, output) == (0, f"All images have the renditions of the present recipe, {version}.\n")
    code, _, errors = await run_command(environment, "reprocess")
    assert code == 2
    assert "--stale" in errors


async def test_waiting_without_a_worker_is_said_once(environment):
    """And when one runs again."""
    async with gallery_with(environment) as old:
        await library(old, 2)
    narrow = {**environment, **NARROW}
    async with gallery_with(narrow) as new:
        waiting = asyncio.create_task(run_command(narrow, "reprocess", "--stale", "--wait", "--json"))
        async with asyncio.timeout(60):
            while not await _due(new):
                await asyncio.sleep(0.05)
        await asyncio.sleep(2.5)  # it looks once a second
        async with new.worker_registry.registered("worker", "1", 1), worker(new):
            code, output, errors = await waiting
    sentences = [line for line in errors.splitlines() if "orker" in line]
    assert sentences == ["No worker runs: 2 images wait until one is started (gallery worker).", "A worker runs now."]
    assert (code, json.loads(output.splitlines()[-1])["rendered"]) == (0, 2)


async def _due(gallery):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT count(*) FROM image WHERE work_state = 'due'")
