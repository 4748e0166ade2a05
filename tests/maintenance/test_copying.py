"""Objects that go from one store to another: hashed on the way, and never twice."""

import hashlib
from collections.abc import AsyncIterator

import pytest

from gallery.adapters.objects.cloud import CloudBackend
from gallery.adapters.objects.content import DownloadHeaders
from gallery.adapters.objects.store import ObjectStore, open_objects
from gallery.errors import ObjectDamaged, ObjectNotFound, ObjectTaken
from gallery.maintenance.copying import CopiedObject, CopyFailure, CopyRequest, copy, copy_all
from gallery.settings import Settings
from s3 import create_bucket

BIG_CONTENT = bytes(range(256)) * 4096 * 12  # 12 MiB: several parts


@pytest.fixture
def files(tmp_path) -> ObjectStore:
    return open_objects(Settings(data_dir=str(tmp_path)))


@pytest.fixture
def bucket(s3, tmp_path) -> ObjectStore:
    return ObjectStore(CloudBackend(create_bucket(s3, f"copies-{abs(hash(tmp_path)) % 10**9}"), 10), timeout=10)


async def iterate(*wanted: CopyRequest) -> AsyncIterator[CopyRequest]:
    for one in wanted:
        yield one


async def test_objects_come_over_whole_and_back(files, bucket, tmp_path):
    await files.put("a", b"small")
    await files.put("b", BIG_CONTENT)
    wanted = [
        CopyRequest("a", headers=DownloadHeaders("image/png", "Lac Léman.png")),
        CopyRequest("b", len(BIG_CONTENT), sha256(BIG_CONTENT)),
    ]
    copied = {one.key: one async for one in copy_all(files, bucket, iterate(*wanted))}
    assert copied == {
        "a": CopiedObject("a", 5, sha256(b"small")),
        "b": CopiedObject("b", len(BIG_CONTENT), sha256(BIG_CONTENT)),
    }
    back = open_objects(Settings(data_dir=str(tmp_path / "back")))
    assert [one.existed async for one in copy_all(bucket, back, iterate(*wanted))] == [False, False]
    assert (await back.digest("b")).sha256 == sha256(BIG_CONTENT)


async def test_an_existing_object_is_not_copied_again(files, bucket):
    await files.put("a", b"small")
    assert not (await copy(files, bucket, CopyRequest("a"))).existed
    await files.delete(["a"])
    assert (await copy(files, bucket, CopyRequest("a", size=5))).existed


@pytest.mark.parametrize("known", [{"size": 6}, {"sha256": hashlib.sha256(b"other").hexdigest()}])
async def test_a_damaged_object_of_the_source_is_not_copied(files, bucket, known):
    await files.put("a", b"small")
    with pytest.raises(ObjectDamaged):
        await copy(files, bucket, CopyRequest("a", **known))
    assert await bucket.size("a") is None


async def test_a_failed_copy_does_not_stop_the_others(files, bucket):
    await files.put("here", b"small")
    await files.put("taken", b"new")
    await bucket.put("taken", b"older")
    found = {
        one.key: one async for one in copy_all(files, bucket, iterate(*map(CopyRequest, ("gone", "taken", "here"))))
    }
    assert {key: type(one.error) for key, one in found.items() if isinstance(one, CopyFailure)} == {
        "gone": ObjectNotFound,
        "taken": ObjectTaken,
    }
    assert (await bucket.digest("here")).sha256 == sha256(b"small")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
