"""`gallery verify` compares rows and objects, and has lost renditions rendered again."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from factories import CALLER, upload_image
from gallery.errors import ForeignStore, ObjectDamaged
from gallery.images import object_rows
from gallery.images.model import Status, new_id, original_key, rendition_key
from gallery.maintenance import verify
from gallery.maintenance.verify import Finding, FindingKind, VerifyProgress
from gallery.settings import Settings
from gallery.uploads.model import NewUpload, Protocol
from gallery.wiring import open_gallery, open_processing

OLD = time.time() - 7200
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["files", "s3"])
async def gallery_with_image(request, environment, s3):
    """A gallery with one READY image, on each kind of store."""
    if request.param == "s3":
        environment = {**environment, **s3, "S3_BUCKET": f"verify-{os.urandom(4).hex()}"}
    async with (
        open_gallery(Settings.read(environment)) as gallery,
        open_processing(gallery, name="worker") as processing,
    ):
        image = await upload_image(gallery)
        await processing.process(image.id)
        yield gallery, processing, await gallery.images.get(CALLER, image.id)


async def differences(gallery, **options):
    return [finding async for finding in gallery.verify.differences(**options)]


async def check_originals(gallery, *arguments):
    return [said async for said in gallery.verify.originals(*arguments)]


def object_path(gallery, key: str) -> Path:
    return gallery.settings.data_path / "objects" / key


def make_old(gallery, key: str) -> None:
    os.utime(object_path(gallery, key), (OLD, OLD))


async def test_all_is_well(gallery_with_image):
    gallery, _, image = gallery_with_image
    assert await differences(gallery, remove_unknown=True) == []
    assert await check_originals(gallery) == [VerifyProgress(1, image.id)]


async def test_missing_renditions_are_rendered_again(gallery_with_image):
    gallery, processing, image = gallery_with_image
    gone = [image.rendition_key(rendition) for rendition in image.renditions[:2]]
    await gallery.objects.delete(gone)
    found = await differences(gallery)
    assert found == [Finding(FindingKind.MISSING_RENDITION, key, image.id, mended=True) for key in sorted(gone)]
    assert (await gallery.images.get(CALLER, image.id)).status is Status.READY

    assert (await gallery.sweep.run()).enqueued == 1
    await processing.process(image.id)
    assert await differences(gallery) == []
    again = await gallery.images.get(CALLER, image.id)
    assert again.rendered_attempt == 2
    assert "missing_rendition" in {entry.code for entry in await gallery.images.timeline(CALLER, image.id)}


@pytest.mark.parametrize("left", [b"", b"cut"], ids=["emptied", "cut"])
async def test_renditions_that_lost_bytes_are_rendered_again(gallery_with_image, left):
    """As a file system may leave them after a power cut, when the disk confirmed a write too early."""
    gallery, processing, image = gallery_with_image
    cut = image.rendition_key(image.renditions[0])
    await gallery.objects.delete([cut])
    await gallery.objects.put(cut, left)
    with pytest.raises(ObjectDamaged):
        await gallery.pictures.open(cut, image.renditions[0].size)
    assert await differences(gallery) == [Finding(FindingKind.DAMAGED_RENDITION, cut, image.id, mended=True)]

    assert (await gallery.sweep.run()).enqueued == 1
    await processing.process(image.id)
    assert await differences(gallery) == []


async def test_an_original_that_lost_bytes_is_reported_without_being_read(gallery_with_image):
    gallery, _, image = gallery_with_image
    await gallery.objects.delete([image.original_key])
    await gallery.objects.put(image.original_key, b"cut")
    assert await differences(gallery) == [Finding(FindingKind.DAMAGED_ORIGINAL, image.original_key, image.id)]


async def test_a_missing_original_is_reported_and_its_image_is_unchanged(gallery_with_image):
    gallery, _, image = gallery_with_image
    rendition = image.rendition_key(image.renditions[0])
    await gallery.objects.delete([image.original_key, rendition])
    assert await differences(gallery) == [
        Finding(FindingKind.MISSING_ORIGINAL, image.original_key, image.id),
        Finding(FindingKind.MISSING_RENDITION, rendition, image.id, mended=False),
    ]
    assert await check_originals(gallery) == [
        Finding(FindingKind.MISSING_ORIGINAL, image.original_key, image.id),
        VerifyProgress(1, image.id),
    ]
    assert await gallery.images.get(CALLER, image.id) == image


async def test_an_object_without_a_row_is_reported_and_removed_only_on_request(gallery):
    await gallery.objects.put("renditions/nobody/1/320.webp", b"?")
    await gallery.objects.put("original/young", b"an upload of somebody whose database was restored")
    await gallery.objects.put("holidays/notes.txt", b"not ours at all")
    make_old(gallery, "renditions/nobody/1/320.webp")
    make_old(gallery, "holidays/notes.txt")
    finding = Finding(FindingKind.UNKNOWN_OBJECT, "renditions/nobody/1/320.webp")
    assert await differences(gallery) == [finding]
    assert object_path(gallery, finding.key).exists()
    assert await differences(gallery, remove_unknown=True) == [msgspec.structs.replace(finding, mended=True)]
    assert not object_path(gallery, finding.key).exists()
    assert object_path(gallery, "original/young").exists()
    assert object_path(gallery, "holidays/notes.txt").exists()


async def test_objects_of_uploads_and_deletes_in_progress_are_not_reported(gallery, processing):
    image = await upload_image(gallery)
    await processing.process(image.id)
    await gallery.images.reprocess(CALLER, image.id)
    await processing.process(image.id)  # the renditions of the first attempt stay for a day
    other = await upload_image(gallery)
    await gallery.images.delete(CALLER, other.id)
    reserved = rendition_key(image.id, 9, "320", "webp")
    await object_rows.reserve(gallery.database, image.id, 9, [reserved])
    for key in (other.original_key, image.original_key):
        make_old(gallery, key)
    assert await differences(gallery, remove_unknown=True) == []


async def test_concurrent_uploads_and_deletes_cause_no_false_findings(gallery, processing):
    ended = asyncio.Event()

    async def busy():
        while not ended.is_set():
            image = await upload_image(gallery)
            await processing.process(image.id)
            await gallery.images.delete(CALLER, image.id)
            await gallery.sweep.run()

    working = asyncio.create_task(busy())
    for _ in range(20):
        assert await differences(gallery, remove_unknown=True) == []
    ended.set()
    await working


@pytest.mark.parametrize("harm", [lambda bits: bits[:-1], lambda bits: bits[:-1] + bytes([bits[-1] ^ 1])])
async def test_stored_bytes_are_compared_with_their_hash(gallery, harm):
    image = await upload_image(gallery)
    file = object_path(gallery, image.original_key)
    file.write_bytes(harm(file.read_bytes()))
    damaged = Finding(FindingKind.DAMAGED_ORIGINAL, image.original_key, image.id)
    assert await check_originals(gallery) == [damaged, VerifyProgress(1, image.id)]


async def test_a_share_is_the_same_one_each_time_and_can_be_gone_on_with(gallery):
    images = [await upload_image(gallery) for _ in range(40)]
    for image in images:
        object_path(gallery, image.original_key).write_bytes(b"harmed")
    half = await check_originals(gallery, 0.5)
    assert 8 < half[-1].checked < 32
    assert await check_originals(gallery, 0.5) == half
    rest = await check_originals(gallery, 1.0, images[29].id)
    assert [said.image for said in rest[:-1]] == [image.id for image in images[30:]]
    assert rest[-1] == VerifyProgress(10, images[-1].id)
    assert await check_originals(gallery, 0.0) == [VerifyProgress(0, images[-1].id)]


async def test_another_installations_store_is_refused(gallery_with_image, environment):
    gallery, _, _ = gallery_with_image
    async with gallery.database.writing() as db:
        await db.execute("UPDATE installation SET id = gen_random_uuid()")
    with pytest.raises(ForeignStore):
        async with open_gallery(gallery.settings):
            raise AssertionError


async def test_a_dry_run_of_the_sweep_reports_its_work(gallery, settings):
    image = await upload_image(gallery)
    await gallery.images.delete(CALLER, image.id)
    await upload_image(gallery)
    planned = await gallery.sweep.plan()
    assert (planned.enqueued, planned.removed) == (1, 1)
    assert await gallery.sweep.plan() == planned, "nothing was done"
    assert await gallery.sweep.run() == planned
    assert (await gallery.sweep.plan()).removed == 0


async def test_parts_of_uploads_that_no_row_knows(gallery_with_image, monkeypatch):
    """A process died after the store had begun the upload, and before its row said so."""
    gallery, _, _ = gallery_with_image
    monkeypatch.setattr(verify, "UPLOAD_GRACE", timedelta(hours=-1))
    new = NewUpload(protocol=Protocol.DIRECT, size=100)
    known, _ = await gallery.direct_uploads.create(CALLER, new)
    key = original_key(new_id())
    handle = await gallery.objects.multipart.begin(key)
    await gallery.objects.multipart.put_part(key, handle, 1, 0, b"x")
    unknown = Finding(FindingKind.UNKNOWN_UPLOAD, key)
    assert await differences(gallery) == [unknown]
    assert await differences(gallery, remove_unknown=True) == [msgspec.structs.replace(unknown, mended=True)]
    assert await differences(gallery) == []
    [left] = [u async for batch in gallery.objects.multipart.list_unfinished(FUTURE) for u in batch]
    assert left.key == known.key
