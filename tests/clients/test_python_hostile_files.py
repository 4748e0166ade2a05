"""`gallery-client upload` and files that cannot be read, that are made to do harm, or that change meanwhile."""

import contextlib
import os
import struct
import time
import zipfile
from pathlib import Path

import pytest

import photos
from gallery_client import AsyncGallery, Gallery
from gallery_client.cli.cache import Cache
from gallery_client.cli.files import FoundFile


def a_photo() -> bytes:
    return photos.a_jpeg(64, 48, comment=os.urandom(8))


def statuses(lines: list[dict]) -> dict[str, str]:
    return {Path(line["file"]).name: line.get("code", line["status"]) for line in lines[:-1]}


def test_files_that_cannot_be_read_are_refused_and_the_rest_is_sent(run, tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "good.jpg").write_bytes(a_photo())
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "sub" / "up").symlink_to(folder)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "disk.zip").write_text("no archive")
    code, lines, _ = run("upload", folder, folder / "disk.zip")
    assert code == 1
    unreadable = dict.fromkeys(["gone.jpg", "loop.jpg", "pipe.jpg", "disk.zip"], "unreadable")
    assert statuses(lines) == {"good.jpg": "sent", **unreadable}
    assert lines[-1] == {"sent": 1, "skipped": 0, "refused": 4}


def test_folders_and_files_of_others_are_refused(run_unprivileged, tmp_path):
    folder = tmp_path / "photos"
    (folder / "closed").mkdir(parents=True)
    for name in ("good.jpg", "secret.jpg"):
        (folder / name).write_bytes(a_photo())
    (folder / "secret.jpg").chmod(0)
    (folder / "closed").chmod(0)
    code, lines, _ = run_unprivileged("upload", folder)
    assert (code, statuses(lines)) == (
        1,
        {"good.jpg": "sent", "secret.jpg": "unreadable", "closed": "unreadable"},
    )
    (folder / "closed").chmod(0o700)


def test_a_cache_that_is_damaged_is_told_and_stops_nothing(run, library, tmp_path):
    (tmp_path / "cache" / "gallery").mkdir(parents=True)
    (tmp_path / "cache" / "gallery" / "uploads.sqlite").write_bytes(b"no database" * 100)
    code, lines, error = run("upload", library)
    assert (code, lines[-1]["sent"]) == (0, 2)
    assert error.count("no cache") == 1


def test_a_full_disk_of_the_cache_stops_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    warned = []
    with Cache(warned.append) as cache:
        cache._db.execute("PRAGMA max_page_count = 1")  # it is as large as it may be
        for number in range(2000):
            key = cache.key("https://img.example.org", f"{number:064x}", "[]")
            assert cache.key("https://img.example.org", f"{number:064x}", "[]") == key
    [sentence] = warned
    assert "disk is full" in sentence


def test_archives_with_hostile_entries_are_read_as_far_as_they_go(run, stack, tmp_path, tag):
    archive = tmp_path / "hostile.zip"
    names = ["../../up.jpg", "/etc/root.jpg", "C:\\windows\\back.jpg", "a\x1b[2J\nsent.jpg", "same.jpg", "same.jpg"]
    with zipfile.ZipFile(archive, "w") as file:
        for name in [*names, ".hidden.jpg", "__MACOSX/other.jpg"]:
            info = zipfile.ZipInfo("x")
            info.filename = name
            twice = pytest.warns(UserWarning, match="Duplicate")
            with twice if name in file.namelist() else contextlib.nullcontext():
                file.writestr(info, a_photo())
    code, lines, _ = run("upload", archive, "--tag", tag)
    assert (code, lines[-1]) == (0, {"sent": 6, "skipped": 0, "refused": 0})
    with Gallery(stack.url) as kit:
        titles = sorted(image.title for image in kit.images(tags=[tag]))
    assert titles == ["a\\x1b[2J\\nsent", "back", "root", "same", "same", "up"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "hostile.zip"], "nothing is unpacked"


def test_entries_that_are_damaged_or_encrypted_are_refused(run, tmp_path):
    archive = tmp_path / "damaged.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("good.jpg", "crc.jpg", "locked.jpg"):
            file.writestr(name, a_photo())
    content = bytearray(archive.read_bytes())
    for name, offset, value in ((b"crc.jpg", 16, b"\0\0\0\0"), (b"locked.jpg", 8, struct.pack("<H", 1))):
        at = content.rindex(name) - 46
        content[at + offset : at + offset + len(value)] = value
    at = content.index(b"locked.jpg") - 30
    content[at + 6 : at + 8] = struct.pack("<H", 1)
    archive.write_bytes(content)
    code, lines, _ = run("upload", archive)
    assert (code, lines[-1]) == (1, {"sent": 1, "skipped": 0, "refused": 2})
    found = {line["file"].rpartition(":")[2]: line.get("code", "sent") for line in lines[:-1]}
    assert found == {"good.jpg": "sent", "crc.jpg": "unreadable", "locked.jpg": "unreadable"}


def test_names_that_are_not_unicode_are_sent(run, stack, tmp_path, tag):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(a_photo())
    (tmp_path / "写真 \u202egpj.jpg").write_bytes(a_photo())
    code, lines, _ = run("upload", ".", "--tag", tag)
    assert (code, lines[-1]) == (0, {"sent": 2, "skipped": 0, "refused": 0})
    with Gallery(stack.url) as kit:
        assert {image.title for image in kit.images(tags=[tag])} == {"caf\ufffd", "写真 \\u202egpj"}
    assert run("upload", ".")[1][-1]["skipped"] == 2


def test_a_title_does_not_reach_the_terminal_as_it_stands(start, stack, tmp_path):
    (tmp_path / "a\x1b[2J\nsent fake.jpg").write_bytes(a_photo())
    out, _ = start("upload", ".").communicate(timeout=60)
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


def test_the_same_bytes_are_sent_once(run, tmp_path):
    content = a_photo()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(content)
    code, lines, _ = run("upload", ".", "--delete")
    assert (code, lines[-1]) == (0, {"sent": 1, "skipped": 2, "refused": 0})
    assert list(tmp_path.glob("*.jpg")) == []


def test_a_dry_run_deletes_nothing(run, library):
    run("upload", library)
    code, lines, _ = run("upload", library, "--dry-run", "--delete")
    assert (code, lines[-1]) == (0, {"sent": 0, "skipped": 2, "refused": 0})
    assert (library / "one.jpg").exists()


def test_a_file_is_read_again_before_it_is_deleted(run, library):
    """Its size and time may be those of the bytes that were sent, and its content another."""
    path = library / "one.jpg"
    long_ago = time.time() - 1000
    os.utime(path, (long_ago, long_ago))
    run("upload", path)
    content = path.read_bytes()
    changed = content.replace(content[-20:], os.urandom(18) + content[-2:])
    path.write_bytes(changed)
    os.utime(path, (long_ago, long_ago))
    code, lines, _ = run("upload", path, "--delete")
    assert (code, lines[-1]["sent"]) == (0, 1)


def test_a_file_that_cannot_be_deleted_is_told(run_unprivileged, tmp_path):
    """It is stored, so it counts as sent; the exit code says that something is left."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(a_photo())
    folder.chmod(0o500)
    code, lines, error = run_unprivileged("upload", folder, "--delete")
    folder.chmod(0o700)
    assert (code, lines[-1]) == (1, {"sent": 1, "skipped": 0, "refused": 0})
    assert "cannot be deleted" in error
    assert (folder / "a.jpg").exists()


def test_a_file_that_changes_after_it_was_sent_is_not_deleted(run, library, monkeypatch):
    upload = AsyncGallery.upload

    async def upload_and_change(self, photo, **fields):
        image = await upload(self, photo, **fields)
        Path(photo.name).write_bytes(a_photo())
        return image

    monkeypatch.setattr(AsyncGallery, "upload", upload_and_change)
    code, lines, _ = run("upload", library, "--delete")
    assert (code, lines[-1]["sent"], (library / "one.jpg").exists()) == (0, 2, True)


def test_an_image_that_is_deleted_meanwhile_is_sent_again(run, library, stack, monkeypatch):
    run("upload", library)
    check = AsyncGallery.check

    async def check_and_delete(self, sha256s):
        there = await check(self, sha256s)
        for image in there.values():
            await self.delete(image)
        return there

    monkeypatch.setattr(AsyncGallery, "check", check_and_delete)
    code, lines, _ = run("upload", library, "--delete")
    assert (code, lines[-1]) == (0, {"sent": 2, "skipped": 0, "refused": 0})
    assert not (library / "one.jpg").exists()


def test_the_hash_of_a_file_that_has_just_changed_is_not_kept(monkeypatch, tmp_path):
    """It may change again within the same tick of the clock, with the same size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    new = FoundFile(tmp_path / "a.jpg", 1, time.time_ns())
    old = FoundFile(tmp_path / "b.jpg", 1, time.time_ns() - 10**10)
    with Cache(pytest.fail) as cache:
        for file in (new, old):
            cache.keep_sha256(file, "00")
        assert [cache.sha256(file) for file in (new, old)] == [None, "00"]
