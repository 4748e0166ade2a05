"""Backups: the freeze of removals, the copied objects, and the cost of the second backup."""

import hashlib
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from backup.commands import ignore_progress
from factories import upload_image
from gallery.access.model import OPEN_MODE_CALLER
from gallery.adapters.objects.store import ObjectStore, open_objects
from gallery.adapters.postgres import dump
from gallery.adapters.postgres.dump import get_tools
from gallery.backup import create, store
from gallery.backup.create import BackupCreator
from gallery.backup.location import open_location
from gallery.errors import BackupForeign, BackupUnderWay, CannotStart, RemovedMeanwhile


class CountingObjects(ObjectStore):
    """An object store that records the keys that are read."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store._store, store._timeout)
        self.read: list[str] = []

    async def open(self, key, start=0, end=None):
        self.read.append(key)
        return await super().open(key, start, end)


@pytest.fixture
def location(tmp_path, settings):
    return open_location(str(tmp_path / "backups"), settings, create=True)


@pytest.fixture
def counting_objects(gallery):
    return CountingObjects(open_objects(gallery.settings))


@pytest.fixture
def creator(gallery, counting_objects):
    return BackupCreator(gallery.database, counting_objects, str(gallery.settings.database.url))


async def make_rendered(gallery, processing, count=1):
    images = [await upload_image(gallery) for _ in range(count)]
    for image in images:
        await processing.process(image.id)
    return images


async def test_nothing_is_removed_while_a_backup_is_made(gallery):
    image = await upload_image(gallery)
    async with store.freeze(gallery.database, "somewhere"):
        await gallery.images.delete(OPEN_MODE_CALLER, image.id)
        assert (await gallery.sweep.plan()).removed == 0
        assert (await gallery.sweep.run()).removed == 0
        assert await gallery.objects.size(image.original_key) is not None
    assert (await gallery.sweep.plan()).removed == 1
    assert (await gallery.sweep.run()).removed == 1
    assert await gallery.objects.size(image.original_key) is None


async def test_a_dead_backup_is_waited_for_and_a_live_one_refuses_the_next(gallery):
    async with gallery.database.writing() as db:
        await db.execute(store.BEGIN, "00000000-0000-0000-0000-000000000001", "dead", timedelta(seconds=0.5))
    async with store.freeze(gallery.database, "live", lease=timedelta(seconds=1.5)):
        with pytest.raises(BackupUnderWay):
            async with store.freeze(gallery.database, "third"):
                pytest.fail("two at once")


async def test_a_second_backup_reads_only_new_objects(gallery, processing, creator, counting_objects, location):
    await make_rendered(gallery, processing, 2)
    first = await creator.run(location, 7, ignore_progress)
    assert (len(counting_objects.read), first.objects) == (14, 14)
    [new] = await make_rendered(gallery, processing)
    second = await creator.run(location, 7, ignore_progress)
    assert second.objects == 21
    assert {key.split("/")[1] for key in counting_objects.read[14:]} == {new.id}
    assert await location.complete_ids() == [first.id, second.id]


async def test_a_replaced_object_is_copied_again(gallery, processing, creator, location):
    """As in a store that has outlived its database: another object under the key of an earlier backup."""
    [image] = await make_rendered(gallery, processing)
    await creator.run(location, 7, ignore_progress)
    image = await gallery.images.get(OPEN_MODE_CALLER, image.id)
    key = image.rendition_key(image.renditions[0])
    await gallery.objects.delete([key])
    await gallery.objects.put(key, b"another picture")
    async with gallery.database.writing() as db:
        await db.execute("UPDATE object SET created_at = now() WHERE key = $1", key)
    manifest = await creator.run(location, 7, ignore_progress)
    [entry] = [entry async for entries in location.entries(manifest) for entry in entries if entry.key == key]
    assert entry.sha256 == hashlib.sha256(b"another picture").hexdigest()


async def test_an_interrupted_backup_goes_on_where_it_was(
    gallery, processing, creator, counting_objects, location, monkeypatch
):
    monkeypatch.setattr(create, "BATCH_SIZE", 5)
    await make_rendered(gallery, processing, 2)

    def interrupt(progress):
        if progress.step == "objects" and progress.done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await creator.run(location, 7, interrupt)
    assert (len(counting_objects.read), await location.complete_ids()) == (10, []), (
        "without its manifest it is not complete"
    )
    manifest = await creator.run(location, 7, ignore_progress)
    assert (len(counting_objects.read), manifest.objects) == (14, 14)
    assert list(await location.files()) == [manifest.id], "the incomplete one is removed"


async def test_old_backups_go_with_the_bytes_that_only_they_need(gallery, processing, creator, location):
    [image] = await make_rendered(gallery, processing)
    await creator.run(location, 2, ignore_progress)
    await gallery.images.delete(OPEN_MODE_CALLER, image.id)
    await upload_image(gallery)
    kept = [(await creator.run(location, 2, ignore_progress)).id for _ in range(2)]
    assert await location.complete_ids() == kept
    assert sum([len(batch) async for batch in location.objects.list("objects")]) == 1


@pytest.mark.parametrize("name", ["objects.000000", "manifest.json"])
async def test_a_damaged_backup_does_not_prevent_the_next(gallery, creator, location, counting_objects, name):
    await upload_image(gallery)
    first = await creator.run(location, 7, ignore_progress)
    (Path(location.name) / "backups" / first.id / name).write_bytes(b"{")
    await upload_image(gallery)
    second = await creator.run(location, 1, ignore_progress)
    assert second.objects == 2
    assert second.id in await location.complete_ids()


async def test_a_backup_is_private(creator, location, gallery):
    await upload_image(gallery)
    await creator.run(location, 7, ignore_progress)
    paths = list(Path(location.name).rglob("*"))
    assert len(paths) >= 5
    assert all(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) == 0 for path in paths)


async def test_objects_missing_in_the_store_are_counted(gallery, creator, location):
    lost, _ = await upload_image(gallery), await upload_image(gallery)
    await gallery.objects.delete([lost.original_key])
    manifest = await creator.run(location, 7, ignore_progress)
    assert (manifest.objects, manifest.missing) == (2, 1)


async def test_an_object_removed_in_spite_of_the_freeze_fails_the_backup(gallery, location):
    image = await upload_image(gallery)

    class RemovingObjects(CountingObjects):
        """Removes objects in spite of the freeze, as an older version would."""

        async def open(self, key, start=0, end=None):
            await gallery.images.delete(OPEN_MODE_CALLER, image.id)
            await gallery.objects.delete([key])
            return await super().open(key, start, end)

    backup = BackupCreator(gallery.database, RemovingObjects(gallery.objects), str(gallery.settings.database.url))
    with pytest.raises(RemovedMeanwhile):
        await backup.run(location, 7, ignore_progress)
    assert await location.complete_ids() == []


async def test_backups_of_another_gallery_are_refused(gallery, creator, location):
    await creator.run(location, 7, ignore_progress)
    async with gallery.database.writing() as db:
        await db.execute("UPDATE installation SET id = gen_random_uuid()")
    with pytest.raises(BackupForeign):
        await creator.run(location, 7, ignore_progress)


async def test_old_programs_are_refused_with_the_versions_to_install():
    with pytest.raises(CannotStart, match=r"found: .*18 in .*\): install postgresql-client-99"):
        await get_tools(99)


@pytest.mark.parametrize(
    ("url", "shown", "secret"),
    [
        ("postgresql://maya:p%40ss@db/x?sslmode=require", "postgresql://maya@db/x?sslmode=require", "p@ss"),
        ("postgresql://db/x?user=maya&password=p%40ss", "postgresql://db/x?user=maya", "p@ss"),
        ("postgresql://maya@a:1,b:2/x", "postgresql://maya@a:1,b:2/x", None),
    ],
)
def test_no_command_line_shows_a_password(url, shown, secret):
    assert dump._split_password(url) == (shown, {"PGPASSWORD": secret} if secret else {})
