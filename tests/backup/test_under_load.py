"""A backup under load, the loss of everything, and the restore."""

import asyncio
import random
from contextlib import suppress

import httpx
import pytest

from backup.commands import make_bucket, ready_images, restore, run_gallery, run_successfully, served_images
from faults.load import Load
from gallery.backup.store import verified_age
from gallery.settings import Settings
from gallery.wiring import open_gallery
from gallery_processes import api, worker


@pytest.fixture(params=["files to a directory", "S3 to S3"])
def backup_setup(request, environment, tmp_path):
    """The environment of the library, and the location of its backup."""
    if request.param == "files to a directory":
        return environment, str(tmp_path / "backups")
    s3 = request.getfixturevalue("s3")
    bucket = environment["GALLERY_REDIS__PREFIX"]
    return {**environment, **s3, "S3_BUCKET": f"{bucket}-library"}, f"s3://{bucket}-backups/nightly"


async def test_images_that_were_ready_at_the_snapshot_are_served_again(backup_setup, tmp_path):
    environment, location = backup_setup
    if location.startswith("s3:"):
        await make_bucket(environment, location)
    environment = {**environment, "TMPDIR": str(tmp_path)}  # no other test cleans it up
    lively = {**environment, "GALLERY_WORKER__SWEEP_EVERY": "0.2"}
    async with api(lively, tmp_path / "logs") as server, worker(lively, tmp_path / "logs"):
        load = Load(server.url, rate=8)
        working = asyncio.create_task(load.run(4))
        async with open_gallery(Settings.read(environment)) as gallery:
            while len(before := await ready_images(gallery)) < 5:
                await asyncio.sleep(0.1)
            deleting = asyncio.create_task(_delete_some(server.url, load))
            made = await run_successfully(lively, "backup", "create", location)
            deleting.cancel()
            with suppress(asyncio.CancelledError):
                await deleting
            await working
            after = await ready_images(gallery)
    assert made["objects"] > 0

    code, findings, output = await run_gallery(environment, "backup", "verify", location)
    assert code == 0, (findings, output)
    async with open_gallery(Settings.read(environment)) as gallery:
        assert await verified_age(gallery.database) is not None
    fresh = await restore(environment, location, tmp_path)
    there = await served_images(fresh)
    assert {id_: sha for id_, sha in before.items() if id_ in after}.items() <= there.items(), "older images stay"
    assert there.items() <= load.acknowledged.items(), "with the bytes that were sent"
    assert len(there) * 9 > made["objects"] / 2, "and nearly all objects are of images that are READY"

    async with worker(fresh, tmp_path / "logs"), open_gallery(Settings.read(fresh)) as gallery, asyncio.timeout(30):
        while await _count_waiting(gallery):  # images in progress at the snapshot are finished
            await asyncio.sleep(0.1)
        assert [finding async for finding in gallery.verify.differences()] == []


async def _delete_some(url, load):
    """Deletes every second image soon after its upload."""
    gone = set()
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        while True:
            for image in [id_ for id_ in load.acknowledged if id_ not in gone]:
                gone.add(image)
                if random.random() < 0.5:
                    assert (await client.delete(f"/api/v1/images/{image}")).status_code == 200
            await asyncio.sleep(0.05)


async def _count_waiting(gallery):
    async with gallery.database.primary() as db:
        return await db.fetchval("SELECT count(*) FROM image WHERE work_state IS NOT NULL AND deleted_at IS NULL")
