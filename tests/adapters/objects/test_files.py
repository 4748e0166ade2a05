"""Objects in files: failures that only a directory can have."""

import asyncio
import errno
import io
import os
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile

import pytest

from gallery.adapters.objects.content import CHUNK_BYTES, PutRequest
from gallery.adapters.objects.files import ABANDONED_SECONDS, SPOOL_FOLDER, FileBackend
from gallery.adapters.objects.store import ObjectStore
from gallery.errors import NoRoom, ObjectNotFound, ObjectStoreUnavailable, ObjectTaken
from gallery.local_disk import durable

LARGE_CONTENT = os.urandom(3 * CHUNK_BYTES)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "objects").mkdir()
    return tmp_path / "objects"


@pytest.fixture
def objects(root: Path) -> ObjectStore:
    return ObjectStore(FileBackend(root), timeout=10)


async def list_keys(objects: ObjectStore, prefix: str = "") -> set[str]:
    return {found.key async for batch in objects.list(prefix) for found in batch}


def count_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def spooled_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.parent.name == SPOOL_FOLDER]


@pytest.mark.parametrize("key", ["../x", "a/../x", "a//b", "/a", "a/", "a/./b", "a\0b", "", ".spool/x", "a/.spool/b"])
async def test_an_invalid_key_is_refused(objects, root, key):
    for call in (objects.put(key, b"x"), objects.open(key), objects.size(key), objects.delete([key])):
        with pytest.raises(ValueError, match="is not a valid object key"):
            await call
    assert not list(root.parent.rglob("x"))


async def test_a_folder_is_not_an_object(objects):
    await objects.put("a/b/c", b"x")
    assert await objects.size("a/b") is None
    with pytest.raises(ObjectNotFound):
        await objects.open("a/b")
    assert await list_keys(objects, "a") == await list_keys(objects, "a/") == {"a/b/c"}
    assert await list_keys(objects, "a/b/c") == await list_keys(objects, "nothing") == set()


async def test_files_and_folders_are_private_under_any_umask(objects, root):
    before = os.umask(0)
    try:
        await objects.put_all([PutRequest("renditions/x/1/320.webp", b"x"), PutRequest("original/x", b"y")])
    finally:
        os.umask(before)
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in root.rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}


async def test_a_delete_removes_the_empty_folders_too(objects, root):
    await objects.put_all(
        [PutRequest("renditions/x/1/a", b"x"), PutRequest("renditions/x/2/a", b"x"), PutRequest("original/x", b"x")]
    )
    await objects.delete(["renditions/x/1/a", "original/x"])
    assert not (root / "renditions/x/1").exists()
    assert await list_keys(objects) == {"renditions/x/2/a"}
    await objects.delete(["renditions/x/2/a"])
    assert {path.name for path in root.iterdir()} == {"renditions", "original"}
    assert not (root / "renditions/x").exists()


async def test_puts_and_deletes_in_the_same_folders_do_not_disturb_each_other(objects):
    async def put_and_delete(number: int) -> None:
        for _ in range(5):
            await objects.put(f"renditions/x/1/{number}", b"x")
            await objects.delete([f"renditions/x/1/{number}"])

    await asyncio.gather(*(put_and_delete(number) for number in range(8)))
    assert await list_keys(objects) == set()


async def test_of_many_puts_under_one_key_exactly_one_is_kept_whole(objects, root):
    contents = [bytes([number]) * 1000 for number in range(8)]
    done = await asyncio.gather(*(objects.put("a/b", content) for content in contents), return_exceptions=True)
    assert done.count(None) == 1
    assert (root / "a/b").read_bytes() == contents[done.index(None)]
    assert not spooled_files(root)


async def test_leftovers_of_a_killed_process_are_removed_and_never_listed(objects, root):
    await objects.put("original/x", b"x")
    await objects.put("installation", b"x")
    old, young = root / "original" / SPOOL_FOLDER / "old", root / SPOOL_FOLDER / "young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - ABANDONED_SECONDS - 1,) * 2)
    (root / "original" / "y#1").write_bytes(b"half, of the previous library")
    assert await list_keys(objects) == {"original/x", "installation"}
    await objects.clean_up()
    assert spooled_files(root) == [young], "a put may still use it"


async def test_a_cancelled_put_stores_its_whole_file_or_nothing(objects, root, monkeypatch):
    """The thread goes on after the sender's file is closed; its descriptor may be another file's by then."""
    waiting, go_on = asyncio.Event(), []
    loop, write = asyncio.get_running_loop(), durable._write

    def slow(descriptor, block):
        loop.call_soon_threadsafe(waiting.set)
        while not go_on:
            time.sleep(0.01)
        write(descriptor, block)

    monkeypatch.setattr(durable, "_write", slow)
    with SpooledTemporaryFile(max_size=1) as file:
        file.write(LARGE_CONTENT)
        putting = asyncio.create_task(objects.put("a/b", file))
        await waiting.wait()
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]  # reuse the descriptor's number
    go_on.append(True)
    async with asyncio.timeout(10):
        while not (root / "a/b").exists():
            await asyncio.sleep(0.01)
    assert (root / "a/b").read_bytes() == LARGE_CONTENT
    for other in others:
        os.close(other)


async def test_a_file_that_was_received_in_the_store_is_linked_and_not_copied(objects, root):
    with objects.temporary_file("original/new") as file:
        file.write(LARGE_CONTENT)
        await objects.put("original/x", file)
        stored = (root / "original/x").stat()
        assert stored.st_ino == os.fstat(file.fileno()).st_ino
    assert (root / "original/x").read_bytes() == LARGE_CONTENT
    assert (stat.S_IMODE(stored.st_mode), stored.st_nlink) == (0o600, 1)
    with pytest.raises(ObjectTaken):
        await objects.put("original/x", b"other bytes")


async def test_a_small_file_that_was_received_in_the_store_is_stored_whole(objects, root):
    with objects.temporary_file("original/new") as file:
        file.write(b"x")
        await objects.put("original/x", file)
        await objects.put("original/x", file)  # again, because an answer was lost
    assert (root / "original/x").read_bytes() == b"x"


async def test_a_file_that_was_never_put_leaves_nothing(objects, root):
    before = count_open_files()
    with objects.temporary_file("original/new") as file:
        file.write(LARGE_CONTENT)
        assert not spooled_files(root), "a killed process would leave them"
    assert count_open_files() == before


async def test_where_no_unnamed_file_can_be_linked_it_is_copied(objects, root, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EOPNOTSUPP, "as NFS")

    monkeypatch.setattr(durable.os, "link", refuse)
    with objects.temporary_file("original/new") as file:
        monkeypatch.undo()
        file.write(LARGE_CONTENT)
        await objects.put("original/x", file)
        assert (root / "original/x").stat().st_ino != os.fstat(file.fileno()).st_ino
    assert (root / "original/x").read_bytes() == LARGE_CONTENT
    assert not spooled_files(root)


async def test_a_reader_that_stops_early_leaves_no_file_open(objects):
    await objects.put("a/b", io.BytesIO(LARGE_CONTENT))
    before = count_open_files()
    for _ in range(5):
        _, chunks = await objects.open("a/b")
        await anext(chunks)
        await objects.open("a/b")
        await chunks.aclose()
    del chunks
    async with asyncio.timeout(10):
        while count_open_files() > before:  # a thread may still finish its last read
            await asyncio.sleep(0.01)


async def test_an_object_deleted_during_a_read_is_read_to_its_end(objects):
    await objects.put("a/b", LARGE_CONTENT)
    _, chunks = await objects.open("a/b")
    first = await anext(chunks)
    await objects.delete(["a/b"])
    assert first + b"".join([chunk async for chunk in chunks]) == LARGE_CONTENT


@pytest.fixture
def small_disk(root: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", root], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", root], check=True)


@pytest.mark.usefixtures("small_disk")
async def test_a_full_disk_raises_no_room_and_leaves_no_files(objects, root):
    await objects.take_ownership("ours")
    with pytest.raises(NoRoom):
        await objects.put("a/b", LARGE_CONTENT)
    assert not spooled_files(root)
    with (root / "weight").open("wb", buffering=0) as weight, suppress(OSError):
        while True:
            weight.write(bytes(4096))
    await objects.take_ownership("ours")
    with pytest.raises(NoRoom):
        await objects.put("a/b", b"x" * 10_000)
    assert await list_keys(objects) == {"installation", "weight"}


async def test_a_failing_disk_is_unavailable(objects, monkeypatch):
    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ObjectStoreUnavailable):
        await objects.put("a/b", b"x")
    assert await objects.size("a/b") is None, "an unsynced object must not exist"
