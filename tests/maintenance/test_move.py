"""A library moves to another object store while people go on using it."""

import asyncio
import json
import os
from pathlib import Path

import pytest

import tus_requests
from conftest import running_application
from factories import CALLER, unique_photo, upload_image
from gallery.adapters.objects.store import ObjectStore, open_objects_at
from gallery.errors import CannotStart, ForeignStore, StoreClosed
from gallery.images import object_rows
from gallery.images.model import new_id, original_key
from gallery.maintenance.move import MigrationFailure, MigrationProgress, ObjectMigration
from gallery.settings import Settings
from gallery.wiring import Gallery, open_gallery, open_processing
from gallery_processes import run_gallery


@pytest.fixture
def s3_environment(environment, s3) -> dict[str, str]:
    return {**environment, **s3, "S3_BUCKET": f"moved-{os.urandom(4).hex()}"}


@pytest.fixture
def target(s3_environment) -> ObjectStore:
    return open_objects_at(f"s3://{s3_environment['S3_BUCKET']}", Settings.read(s3_environment))


async def migrate(gallery: Gallery, target: ObjectStore, **options) -> list[MigrationProgress | MigrationFailure]:
    return [said async for said in ObjectMigration(gallery.database, gallery.objects, target).run(**options)]


async def change_times(objects: ObjectStore) -> dict[str, object]:
    return {found.key: found.modified_at async for batch in objects.list("") for found in batch}


async def is_consistent(gallery: Gallery) -> bool:
    differences = [found async for found in gallery.verify.differences()]
    read = [said async for said in gallery.verify.originals() if not hasattr(said, "checked")]
    return not differences and not read


async def test_a_library_moves_to_s3_and_back_under_load(environment, s3_environment, target):
    stop = asyncio.Event()

    async def load(gallery: Gallery) -> None:
        async with open_processing(gallery) as processing:
            while not stop.is_set():
                await processing.process((await upload_image(gallery)).id)

    async with open_gallery(Settings.read(environment)) as old:
        async with asyncio.TaskGroup() as busy:
            busy.create_task(load(old))
            while len(await change_times(old.objects)) < 10:
                await asyncio.sleep(0.05)
            first = (await migrate(old, target))[-1]
            stop.set()
        second = (await migrate(old, target, close=True))[-1]
        assert (first.failed, second.failed, second.already) == (0, 0, first.copied)
        assert first.copied + second.copied == len(await change_times(old.objects)) - 1
        with pytest.raises(StoreClosed):
            await old.objects.ping()
    with pytest.raises(ForeignStore):
        async with open_gallery(Settings.read(environment)):
            pass
    async with open_gallery(Settings.read(s3_environment)) as new:
        assert await is_consistent(new)
        back = open_objects_at((Path(environment["GALLERY_DATA_DIR"]) / "objects").as_uri(), new.settings)
        assert (await migrate(new, back, close=True))[-1].copied == 0
    async with open_gallery(Settings.read(environment)) as again:
        assert await is_consistent(again)


def interrupt_after(puts: int, target: ObjectStore, run: asyncio.Task, monkeypatch) -> None:
    """Cancel the run in the middle of its next put."""
    put, done = target.put, []

    async def counting(key, content, served=None):
        if len(done) == puts and not run.cancelling():
            run.cancel()
            await asyncio.sleep(60)
        await put(key, content, served)
        done.append(key)

    monkeypatch.setattr(target, "put", counting)


async def test_an_interrupted_run_goes_on_where_it_ended(gallery, target, monkeypatch):
    for _ in range(12):
        await upload_image(gallery)
    await target.take_ownership(await gallery.objects.find_owner())
    run = asyncio.create_task(migrate(gallery, target, concurrency=1))
    interrupt_after(4, target, run, monkeypatch)
    with pytest.raises(asyncio.CancelledError):
        await run
    before = await change_times(target)
    last = (await migrate(gallery, target))[-1]
    assert last.copied + last.already == 12
    assert last.already >= 4
    after = await change_times(target)
    assert {key: after[key] for key in before} == before
    assert (await migrate(gallery, target))[-1] == MigrationProgress(already=12)


async def test_a_damaged_object_is_reported_and_not_copied(gallery, s3_environment, target, tmp_path):
    good, bad = await upload_image(gallery), await upload_image(gallery)
    file = gallery.settings.data_path / "objects" / bad.original_key
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    await target.take_ownership(await gallery.objects.find_owner())
    words = ["migrate-objects", "--to", f"s3://{s3_environment['S3_BUCKET']}", "--close", "--json"]
    async with run_gallery({**s3_environment, "S3_BUCKET": ""}, tmp_path / "logs", *words) as command:
        assert "S3_ENDPOINT is set without S3_BUCKET" in await output_when_ended(command, 2)
    (tmp_path / "old.env").write_text(f"# files\nGALLERY_OBJECTS__URL={file.parents[1].as_uri()}\n")
    words += ["--from", str(tmp_path / "old.env")]
    async with run_gallery({**s3_environment, "S3_BUCKET": ""}, tmp_path / "logs", *words) as command:
        lines = [
            json.loads(line) for line in (await output_when_ended(command, 1)).splitlines() if '"event"' not in line
        ]
    assert lines == [
        {"key": bad.original_key, "code": "object_damaged"},
        {"copied": 1, "bytes": good.size, "already": 0, "failed": 1},
    ]
    assert await target.size(bad.original_key) is None
    await gallery.objects.ping()  # not closed


async def test_an_upload_under_way_and_a_deleted_image_are_not_missed(gallery, target):
    under_way = new_id()
    await object_rows.reserve(gallery.database, under_way, None, [original_key(under_way)])
    doomed = await upload_image(gallery)
    lost = await upload_image(gallery)
    await gallery.images.delete(CALLER, doomed.id)
    await gallery.objects.delete([lost.original_key, doomed.original_key])
    assert await migrate(gallery, target) == [
        MigrationFailure(lost.original_key, "object_not_found"),
        MigrationProgress(failed=1),
    ]


async def test_another_installations_store_and_the_same_store_are_refused(gallery, target):
    await target.take_ownership("theirs")
    with pytest.raises(ForeignStore):
        await migrate(gallery, target)
    with pytest.raises(CannotStart, match="are the same object store"):
        await migrate(gallery, gallery.objects)
    link = gallery.settings.data_path / "the same by another name"
    link.symlink_to(gallery.settings.data_path / "objects")
    with pytest.raises(CannotStart, match="are the same object store"):
        await migrate(gallery, open_objects_at(link.as_uri(), gallery.settings), close=True)


async def output_when_ended(command, code: int) -> str:
    async with asyncio.timeout(60):
        assert await command.process.wait() == code, command.log_text()
    return command.log_text()


async def test_an_upload_in_parts_begins_again_in_the_new_store(environment, s3_environment, target):
    """Its parts stay where they are, and its sender is told that it is gone."""
    content = unique_photo() + bytes(2_000_000)
    async with running_application(environment) as (old, client):
        url = await tus_requests.created(client, len(content))
        await tus_requests.patch(client, url, 0, content[:1_000_000])
        moved = await migrate(old, target, close=True)
        assert moved[-1].failed == 0
    async with running_application(s3_environment) as (new, client):
        answer = await tus_requests.patch(client, url, 1_000_000, content[1_000_000:])
        assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")
        assert (await tus_requests.send(client, content)).status_code == 204
        assert await is_consistent(new)
