"""Parts in a directory: what a killed process leaves behind, and what a disk can do."""

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gallery.adapters.objects.file_parts import ABANDONED_SECONDS, JOURNAL_SUFFIX, UPLOADS_FOLDER
from gallery.adapters.objects.files import FileBackend
from gallery.adapters.objects.parts import StoredPart
from gallery.adapters.objects.store import ObjectStore
from gallery.errors import NoRoom, ObjectNotFound, ObjectStoreUnavailable, ObjectTaken, PartsMissing
from gallery.local_disk import durable

KEY = "original/a/one"
PART = b"0123456789" * 1000
KILLED_STEPS = {
    "before the part is synced": "os.fsync = die",
    "in the middle of the journal's line": "os.pwrite = write_half_and_die",
    "after the link": "FileLayout.sync_folders = die",
    "after the journal is removed": "Path.unlink = remove_journal_and_die",
    "while it begins": "file_parts._append = die",
}
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from gallery.adapters.objects import file_parts
from gallery.adapters.objects.file_layout import FileLayout
from gallery.adapters.objects.files import FileBackend
from gallery.adapters.objects.parts import StoredPart

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write_half_and_die(file, data, position, pwrite=os.pwrite):
    journal = bytes(data).startswith(b"[")
    pwrite(file, data[: len(data) // 2] if journal else data, position)
    return die() if journal else len(data)

def remove_journal_and_die(path, missing_ok, unlink=Path.unlink):
    unlink(path)
    die()

async def main(root, call, arguments):
    {patch}
    await getattr(FileBackend(Path(root)).parts, call)(*eval(arguments))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def objects(root: Path) -> ObjectStore:
    return ObjectStore(FileBackend(root), timeout=10)


def run_and_kill(root: Path, step: str, call: str, *arguments: object) -> None:
    """The call in a process of its own, which is killed at that step."""
    script = CHILD.replace("{patch}", KILLED_STEPS[step])
    ended = subprocess.run([sys.executable, "-c", script, str(root), call, repr(arguments)], check=False)
    assert ended.returncode == -9


async def content_of(objects: ObjectStore, key: str = KEY) -> bytes:
    _, chunks = await objects.open(key)
    return b"".join([chunk async for chunk in chunks])


async def count_unfinished(objects: ObjectStore) -> int:
    batches = objects.multipart.list_unfinished(datetime.now(UTC) + timedelta(minutes=1))
    return sum([len(batch) async for batch in batches])


def upload_files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.parent.name == UPLOADS_FOLDER]


@pytest.mark.parametrize("step", ["before the part is synced", "in the middle of the journal's line"])
async def test_a_part_that_a_killed_process_was_writing_does_not_count(objects, root, step):
    handle = await objects.multipart.begin(KEY)
    first = await objects.multipart.put_part(KEY, handle, 1, 0, b"first")
    run_and_kill(root, step, "put_part", KEY, handle, 2, 5, PART)
    assert await objects.multipart.list_parts(KEY, handle) == [first]
    with pytest.raises(PartsMissing):
        await objects.multipart.complete(KEY, handle, [first, StoredPart(2, 5, len(PART))])
    second = await objects.multipart.put_part(KEY, handle, 2, 5, b"short")
    assert await objects.multipart.list_parts(KEY, handle) == [first, second]
    await objects.multipart.complete(KEY, handle, [first, second])
    assert await content_of(objects) == b"firstshort"  # cut where the killed process had written more


async def test_a_whole_part_that_was_being_replaced_does_not_count(objects, root):
    handle = await objects.multipart.begin(KEY)
    await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    run_and_kill(root, "in the middle of the journal's line", "put_part", KEY, handle, 1, 0, b"x" * 10_000)
    assert len(await objects.multipart.list_parts(KEY, handle)) == 1  # killed before anything was written
    run_and_kill(root, "before the part is synced", "put_part", KEY, handle, 1, 0, b"x" * 10_000)
    assert await objects.multipart.list_parts(KEY, handle) == []


async def test_a_part_that_is_put_again_as_it_is_stays_whole(objects, root):
    """Two clients send one file: what one has been told to be there is there, whatever becomes of the other."""
    handle = await objects.multipart.begin(KEY)
    part = await objects.multipart.put_part(KEY, handle, 1, 3, PART)
    (root / "same").write_bytes(PART)
    with (root / "same").open("rb") as file:
        for content in (PART, file):
            assert await objects.multipart.put_part(KEY, handle, 1, 3, content) == part
    [journal] = [path for path in upload_files(root) if path.name.endswith(JOURNAL_SUFFIX)]
    assert len(journal.read_bytes().splitlines()) == 2, "it was never said to be gone"
    with pytest.raises(AssertionError):
        run_and_kill(root, "before the part is synced", "put_part", KEY, handle, 1, 3, PART)
    for other in (PART[:-1] + b"?", PART[:-1], PART + b"?"):
        replaced = await objects.multipart.put_part(KEY, handle, 1, 3, other)
        assert replaced.size == len(other)
        assert await objects.multipart.list_parts(KEY, handle) == [replaced]


async def test_a_later_part_over_the_same_bytes_replaces_the_earlier_one(objects):
    """An upload goes on with another number when the answer to a part was lost; its first writer may come back."""
    handle = await objects.multipart.begin(KEY)
    first = await objects.multipart.put_part(KEY, handle, 1, 0, b"first")
    await objects.multipart.put_part(KEY, handle, 2, 5, b"lost answer")
    third = await objects.multipart.put_part(KEY, handle, 3, 5, b"again")
    with pytest.raises(ObjectTaken):
        await objects.multipart.put_part(KEY, handle, 2, 5, b"lost answer")
    assert await objects.multipart.list_parts(KEY, handle) == [first, third]
    await objects.multipart.complete(KEY, handle, [first, third])
    assert await content_of(objects) == b"firstagain"


@pytest.mark.parametrize("step", ["after the link", "after the journal is removed"])
async def test_a_completion_that_was_killed_is_finished_when_it_is_repeated(objects, root, step):
    handle = await objects.multipart.begin(KEY)
    part = await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    run_and_kill(root, step, "complete", KEY, handle, [part])
    with pytest.raises(ObjectNotFound):  # it would write into the object
        await objects.multipart.put_part(KEY, handle, 1, 0, b"others")
    await objects.multipart.complete(KEY, handle, [part])
    assert await content_of(objects) == PART
    assert await count_unfinished(objects) == 0
    make_old(root)
    await objects.clean_up()
    assert not upload_files(root)
    assert await content_of(objects) == PART


async def test_an_upload_that_was_killed_after_the_link_can_be_aborted(objects, root):
    handle = await objects.multipart.begin(KEY)
    part = await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    run_and_kill(root, "after the link", "complete", KEY, handle, [part])
    await objects.multipart.abort(KEY, handle)
    assert not upload_files(root)
    assert await content_of(objects) == PART


async def test_what_a_killed_beginning_leaves_is_removed_after_an_hour(objects, root):
    handle = await objects.multipart.begin(KEY)
    run_and_kill(root, "while it begins", "begin", KEY, None)
    assert len(upload_files(root)) == 4
    assert await count_unfinished(objects) == 1
    await objects.clean_up()
    assert len(upload_files(root)) == 4  # another process may be beginning it
    make_old(root)
    await objects.clean_up()
    assert {path.name.removesuffix(JOURNAL_SUFFIX) for path in upload_files(root)} == {handle, handle.partition(".")[0]}
    part = await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    await objects.multipart.complete(KEY, handle, [part])


def make_old(root: Path) -> None:
    for path in upload_files(root):
        os.utime(path, (time.time() - 2 * ABANDONED_SECONDS,) * 2)


async def test_a_backup_by_hard_links_does_not_disturb_an_upload(objects, root):
    handle = await objects.multipart.begin(KEY)
    first = await objects.multipart.put_part(KEY, handle, 1, 0, b"first")
    for number, path in enumerate(upload_files(root)):
        os.link(path, root / f"backup-{number}")
    second = await objects.multipart.put_part(KEY, handle, 2, 5, b"second")
    await objects.multipart.complete(KEY, handle, [first, second])
    assert await content_of(objects) == b"firstsecond"


async def test_an_upload_of_another_key_is_not_taken_for_ones_own(objects):
    handle = await objects.multipart.begin(KEY)
    part = await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    await objects.multipart.complete(KEY, handle, [part])
    later = await objects.multipart.begin(KEY)
    await objects.multipart.abort(KEY, later)
    with pytest.raises(ObjectTaken):
        await objects.multipart.complete(KEY, later, [part])


@pytest.mark.parametrize("handle", ["../../secret", "", "0" * 32, "g" * 32 + ".1"])
async def test_an_invalid_handle_is_an_upload_that_is_gone(objects, handle):
    with pytest.raises(ObjectNotFound):
        await objects.multipart.list_parts(KEY, handle)
    with pytest.raises(ObjectNotFound):
        await objects.multipart.complete(KEY, handle, [StoredPart(1, 0, 1)])
    await objects.multipart.abort(KEY, handle)


async def test_writers_of_one_upload_leave_threads_to_others(objects, root):
    """A hundred parts of one upload wait outside the threads while another writer holds it."""
    handle, other = await objects.multipart.begin(KEY), await objects.multipart.begin("original/b/two")
    journal = next(path for path in upload_files(root) if path.name.startswith(handle))
    with journal.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = [asyncio.create_task(objects.multipart.put_part(KEY, handle, n, n, b"x")) for n in range(1, 101)]
        async with asyncio.timeout(5):
            await objects.multipart.put_part("original/b/two", other, 1, 0, PART)
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    assert len(await objects.multipart.list_parts(KEY, handle)) == 100


async def test_a_part_without_help_from_the_kernel_is_copied_by_this_process(objects, monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    content = os.urandom(3 * durable.BLOCK_BYTES + 1)
    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "part").write_bytes(content)
    handle = await objects.multipart.begin(KEY)
    with (tmp_path / "part").open("rb") as file:
        parts = [await objects.multipart.put_part(KEY, handle, 1, 0, file)]
    await objects.multipart.complete(KEY, handle, parts)
    assert await content_of(objects) == content


async def test_a_part_that_is_not_synced_does_not_count(objects, monkeypatch):
    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    handle = await objects.multipart.begin(KEY)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(ObjectStoreUnavailable):
            await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    assert await objects.multipart.list_parts(KEY, handle) == []


async def test_each_step_reaches_the_disk_before_the_next(objects, root, monkeypatch):
    """The part before its line in the journal; the whole file before its name; each new name before the answer."""
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(os, "fsync", recorded(steps, os.fsync))
    monkeypatch.setattr(os, "pwrite", recorded(steps, os.pwrite))
    handle = await objects.multipart.begin(KEY)
    journal, file, folder = f"{handle}{JOURNAL_SUFFIX}", handle.partition(".")[0], UPLOADS_FOLDER
    assert steps[:2] == [("pwrite", journal), ("fsync", journal)]
    assert set(steps[2:]) == {("fsync", name) for name in (folder, "original", root.name)}
    steps.clear()
    part = await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    assert steps == [("pwrite", file), ("fsync", file), ("pwrite", journal), ("fsync", journal)]
    steps.clear()
    await objects.multipart.complete(KEY, handle, [part])
    assert steps[0] == ("fsync", file)
    assert ("fsync", "a") in steps


def recorded(steps: list[tuple[str, str]], call: Callable[..., Any]) -> Callable[..., Any]:
    def record(file: int, *arguments: object) -> Any:
        steps.append((call.__name__, Path(f"/proc/self/fd/{file}").readlink().name))
        return call(file, *arguments)

    return record


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
async def test_a_full_disk_raises_no_room_and_the_upload_can_go_on(objects):
    handle = await objects.multipart.begin(KEY)
    with pytest.raises(NoRoom):
        await objects.multipart.put_part(KEY, handle, 1, 0, bytes(2_000_000))
    assert await objects.multipart.list_parts(KEY, handle) == []
    part = await objects.multipart.put_part(KEY, handle, 1, 0, PART)
    await objects.multipart.complete(KEY, handle, [part])
    assert await content_of(objects) == PART
