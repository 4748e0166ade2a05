"""A restore needs an empty database, is complete or changes nothing, and uses no number twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest

import tus_requests
from backup.commands import empty_environment, ignore_progress, run_gallery, run_successfully, served_images
from conftest import running_application
from factories import listen, post, unique_photo, upload_image, wait_until_settled
from gallery.access.model import OPEN_MODE_CALLER
from gallery.adapters.postgres.dump import get_tools
from gallery.backup import store
from gallery.backup.create import BackupCreator
from gallery.backup.location import open_location
from gallery.backup.restore import IS_EMPTY
from gallery.backup.snapshot import open_connection
from gallery.backup.verify import BackupVerifier, scratch_database
from gallery.errors import DumpFailed
from gallery.wiring import open_processing
from gallery_processes import base_environment


@pytest.fixture
def location(tmp_path, settings):
    return open_location(str(tmp_path / "backups"), settings, create=True)


@contextmanager
def changed(path: Path, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """The file with other bytes, or without any, until the end of the block."""
    content = path.read_bytes()
    other = change(content)
    path.unlink() if other is None else path.write_bytes(other)
    yield
    path.write_bytes(content)


@pytest.fixture
def creator(gallery):
    return BackupCreator(gallery.database, gallery.objects, str(gallery.settings.database.url))


async def test_damage_is_found_and_a_good_backup_is_recorded(gallery, processing, creator, location):
    image = await upload_image(gallery)
    await processing.process(image.id)
    manifest = await creator.run(location, 7, ignore_progress)
    url = str(gallery.settings.database.url)

    async def found(share=1.0):
        async with scratch_database(url, None) as empty:
            return [
                (each.found, each.what)
                async for each in BackupVerifier(location, manifest, empty).findings(share, ignore_progress)
            ]

    assert await found() == []
    files = Path(location.name)
    original = f"objects/{image.sha256[:2]}/{image.sha256}"
    with changed(files / original, lambda content: content[:-1] + bytes([content[-1] ^ 1])):
        assert await found() == [("object-damaged", original)]
        assert await found(share=0) == [], "it was not read"
    with changed(files / original, lambda _: None):
        assert await found() == [("object-missing", f"{original} of {image.original_key}")]
    with changed(files / manifest.dump[0].key, lambda content: content[:-1000]):
        [(kind, detail)] = await found()
        assert (kind, manifest.dump[0].key in detail) == ("dump-damaged", True)
    with changed(files / manifest.inventory[0].key, lambda content: content[:-1]):
        assert [kind for kind, _ in await found(share=0)] == ["inventory-damaged"]

    assert await store.verified_age(gallery.database) is None
    await store.mark_verified(gallery.database, manifest.id, location.name, manifest.taken_at)
    assert 0 < (await store.verified_age(gallery.database)).total_seconds() < 120
    async with gallery.database.primary() as db:
        assert await db.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE 'gallery_verify_%'") == 0


async def test_differences_between_rows_and_objects_are_found(gallery, creator, location):
    """A complete dump, with counts and objects of another backup."""
    await upload_image(gallery)
    manifest = await creator.run(location, 7, ignore_progress)
    later = await upload_image(gallery)
    newer = await creator.run(location, 7, ignore_progress)
    mixed = msgspec.structs.replace(newer, inventory=manifest.inventory, tables=manifest.tables)
    async with scratch_database(str(gallery.settings.database.url), None) as empty:
        found = [
            (each.found, each.what)
            async for each in BackupVerifier(location, mixed, empty).findings(1, ignore_progress)
        ]
    assert ("count-differs", "image: 2 instead of 1") in found
    assert ("object-not-listed", later.original_key) in found


async def test_a_restore_does_not_overwrite(gallery, environment, creator, location, tmp_path):
    await upload_image(gallery)
    code, _, output = await run_gallery(environment, "restore", location.name)
    assert (code, "There is no such backup" in output) == (1, True)
    manifest = await creator.run(location, 7, ignore_progress)

    code, _, output = await run_gallery(environment, "restore", location.name)
    assert (code, "is not empty, and a restore does not overwrite" in output) == (2, True)

    fresh = await empty_environment(environment, tmp_path)
    foreign = Path(fresh["GALLERY_DATA_DIR"]) / "objects" / "installation"
    foreign.parent.mkdir(parents=True)
    foreign.write_text(str(uuid4()))
    code, _, output = await run_gallery(fresh, "restore", location.name)
    assert (code, "belongs to another Gallery installation" in output) == (1, True)
    foreign.unlink()
    (foreign.parent / "original").mkdir()
    (foreign.parent / "original" / "a-photo").write_bytes(b"precious")
    code, _, output = await run_gallery(fresh, "restore", location.name)
    assert (code, "The object store is not empty: it holds original/a-photo" in output) == (2, True)
    (foreign.parent / "original" / "a-photo").unlink()

    dump = Path(location.name) / manifest.dump[0].key
    with changed(dump, lambda content: content[: len(content) // 2]):
        code, _, output = await run_gallery(fresh, "restore", location.name)
        assert (code, "The backup is damaged" in output) == (1, True)
        code, lines, _ = await run_gallery(environment, "backup", "verify", location.name)
        assert (code, lines[0]["found"]) == (1, "dump-damaged")
        assert await store.verified_age(gallery.database) is None
    await run_successfully(fresh, "restore", location.name)  # nothing was left behind


async def test_a_truncated_dump_is_rolled_back(gallery, environment, creator, location, tmp_path):
    """With a right hash, as when another version of pg_restore fails in the middle."""
    await upload_image(gallery)
    await creator.run(location, 7, ignore_progress)
    manifest = await location.manifest()
    content = (Path(location.name) / manifest.dump[0].key).read_bytes()
    half = tmp_path / "half"
    half.write_bytes(content[:-200])
    fresh = (await empty_environment(environment, tmp_path))["DATABASE_URL"]
    with pytest.raises(DumpFailed):
        await (await get_tools(18)).restore(half, fresh, "")
    async with open_connection(fresh) as db:
        assert await db.fetchval(IS_EMPTY) is True


async def test_no_number_is_used_twice(environment, tmp_path, location):
    """Clients have seen more than the backup holds: later events, later versions, a later attempt's renditions."""
    async with (
        running_application(environment) as (gallery, client),
        open_processing(gallery, name="worker") as processing,
    ):
        image = (await post(client)).json()["id"]
        await processing.process(image)
        waiting = await upload_image(gallery)
        async with gallery.database.writing() as db:
            await db.execute("UPDATE image SET status = 'PROCESSING', work_state = 'claimed', attempt = 1, "
                             "lease_until = now() + interval '1 hour' WHERE id = $1", waiting.id)  # fmt: skip
        await BackupCreator(gallery.database, gallery.objects, str(gallery.settings.database.url)).run(
            location, 7, ignore_progress
        )
        async with listen(client) as maya:
            await client.patch(f"/api/v1/images/{image}", json={"title": "Later"})
            last = await maya.next("image.updated")
        seen = await client.get(f"/api/v1/images/{image}")

    fresh = {**await empty_environment(environment, tmp_path), "GALLERY_DATA_DIR": environment["GALLERY_DATA_DIR"]}
    damaged = Path(environment["GALLERY_DATA_DIR"]) / "objects" / waiting.original_key
    damaged.write_bytes(bytes(damaged.stat().st_size))
    await run_successfully(fresh, "restore", location.name)  # into the store that is left, with one damaged object
    async with running_application(fresh) as (gallery, client), open_processing(gallery, name="worker") as processing:
        answer = await client.get(f"/api/v1/images/{image}", headers={"If-None-Match": seen.headers["ETag"]})
        assert (answer.status_code, answer.json()["title"]) == (200, "lake"), "the cache was cleared"
        assert answer.json()["version"] > seen.json()["version"]
        async with listen(client, last_event_id=last.id) as maya:
            reset = await maya.next("reset")
            assert int(reset.id) > int(last.id)
            found = await gallery.images.get(OPEN_MODE_CALLER, waiting.id)
            assert (found.status, found.lease_until) == ("PENDING", None)
            await processing.process(waiting.id)
            assert (await wait_until_settled(client, waiting.id))["status"] == "READY"
            ready = await maya.next("image.ready")
            assert int(ready.id) > int(reset.id)
        assert (await gallery.images.reprocess(OPEN_MODE_CALLER, image)).attempt > 1_000_000
        await processing.process(image)
        assert set(await served_images(fresh)) == {image, waiting.id}


async def test_a_laptops_backup_is_restored_into_another_data_directory(stack, tmp_path):
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        image = (await post(client, unique_photo())).json()["id"]
        assert (await wait_until_settled(client, image))["status"] == "READY"
    here = {**base_environment(), "GALLERY_DATA_DIR": str(stack.data)}
    await run_successfully(here, "backup", "create", str(tmp_path / "backups"))
    code, _, output = await run_gallery(here, "restore", str(tmp_path / "backups"))
    assert (code, "is not empty" in output) == (2, True)

    there = {**base_environment(), "GALLERY_DATA_DIR": str(tmp_path / "new")}
    await run_successfully(there, "restore", str(tmp_path / "backups"))
    code, lines, output = await run_gallery(there, "verify", "--bytes", "1")
    assert (code, lines[-1]["originals"] >= 1) == (0, True), output


async def test_uploads_under_way_begin_again(environment, tmp_path, location):
    """Their parts are in no backup; those that have ended are told again."""
    async with running_application(environment) as (gallery, client):
        content = unique_photo()
        half = await tus_requests.created(client, len(content))
        await tus_requests.patch(client, half, 0, content[:1000])
        ended = await tus_requests.send(client, unique_photo())
        await BackupCreator(gallery.database, gallery.objects, str(gallery.settings.database.url)).run(
            location, 7, ignore_progress
        )
    fresh = await empty_environment(environment, tmp_path)
    await run_successfully(fresh, "restore", location.name)
    async with running_application(fresh) as (gallery, client):
        assert (await tus_requests.head(client, half)).status_code == 404
        assert (await client.get(ended.headers["Content-Location"])).status_code == 200
        assert (await tus_requests.send(client, content)).status_code == 204
        await gallery.sweep.run()
        async with gallery.database.primary() as db:
            assert await db.fetchval("SELECT count(*) FROM object WHERE remove_after = 'infinity'") == 0
