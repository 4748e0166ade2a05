"""The command `gallery-client`, as a user starts it."""

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import photos
from clients_proxy import proxy_to
from gallery_client import Gallery

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "docs" / "signing-vectors.json").read_text())["vectors"]
UNKNOWN = "01990000-0000-7000-8000-000000000000"


def names(lines: list[dict], status: str) -> list[str]:
    return sorted(Path(line["file"].replace(":", "/")).name for line in lines if line.get("status") == status)


def test_folders_archives_and_globs_are_sent_once(run, library, stack, tmp_path, tag):
    code, lines, _ = run("upload", library, tmp_path / "more.zip", "photos/*.jpg", "--tag", tag, "--wait")
    assert code == 0
    assert names(lines, "sent") == ["one.jpg", "three.png", "two.JPEG"]
    assert lines[-1] == {"sent": 3, "skipped": 0, "refused": 0}
    with Gallery(stack.url) as kit:
        found = {image.title: image for image in kit.images(tags=[tag])}
    assert found.keys() == {"one", "two", "three"}
    assert {image.status for image in found.values()} == {"READY"}
    assert found["one"].sha256 == hashlib.sha256((library / "one.jpg").read_bytes()).hexdigest()
    code, lines, _ = run("upload", library, tmp_path / "more.zip")
    assert (code, lines[-1]) == (0, {"sent": 0, "skipped": 3, "refused": 0})
    assert {line["image"] for line in lines[:-1]} == {image.id for image in found.values()}


def test_a_dry_run_sends_nothing(run, library):
    code, lines, _ = run("upload", library, "--dry-run")
    assert (code, names(lines, "would send")) == (0, ["one.jpg", "two.JPEG"])
    assert lines[-1] == {"sent": 2, "skipped": 0, "refused": 0}
    assert run("upload", library)[1][-1]["sent"] == 2


def test_refused_files_are_told_and_the_rest_is_sent(run, library):
    (library / "a.jpg").write_text("no picture")
    (library / "b.png").write_text("no picture either")
    code, lines, _ = run("upload", library, "--delete")
    assert (code, lines[-1]) == (1, {"sent": 2, "skipped": 0, "refused": 2})
    assert {line["code"] for line in lines[:-1] if line["status"] == "refused"} == {"not_a_picture"}
    assert sorted(path.name for path in library.rglob("*.*g")) == [".hidden.jpg", "a.jpg", "b.png"], (
        "others are deleted"
    )
    code, lines, _ = run("upload", library, "--on-errors", "stop")
    assert (code, lines[-1]["refused"]) == (1, 1)


def test_a_refusal_is_not_remembered(run, tmp_path):
    """The server would repeat it for a day to the same key, although it may take the file by then."""
    (tmp_path / "a.jpg").write_text("no picture")
    (tmp_path / "large.jpg").write_bytes(bytes(8_500_000))
    assert run("upload", tmp_path)[1][-1]["refused"] == 2
    with closing(sqlite3.connect(tmp_path / "cache" / "gallery" / "uploads.sqlite")) as cache:
        assert cache.execute("SELECT count(*) FROM resume").fetchall() == [(0,)]


def test_a_file_that_is_there_is_deleted_after_a_receipt_only(run, library, tmp_path):
    run("upload", library, tmp_path / "more.zip")
    changed = library / "one.jpg"
    code, lines, _ = run("upload", library, tmp_path / "more.zip", "--delete")
    assert (code, lines[-1]["skipped"]) == (0, 3)
    assert not changed.exists()
    assert (tmp_path / "more.zip").exists()


def test_usage_and_servers_that_are_away_have_codes_of_their_own(run, library):
    code, lines, error = run("upload", "nowhere")
    assert (code, lines[-1]["sent"]) == (2, 0)
    assert "nowhere" in error
    assert run("upload", library, "--on-errors", "sometimes")[0] == 2
    assert run("paint")[0] == 2
    code, lines, error = run("upload", library, url="http://127.0.0.1:1")
    assert (code, lines[-1]) == (3, {"sent": 0, "skipped": 0, "refused": 0})
    assert "cannot be reached" in error
    code, lines, _ = run("show", UNKNOWN)
    assert (code, lines[0]["code"]) == (1, "image_not_found")


async def test_an_interrupted_upload_goes_on_the_next_time(start, stack, tmp_path):
    content = photos.a_jpeg(320, 240, comment=os.urandom(8))
    path = tmp_path / "large.jpg"
    path.write_bytes(content + bytes(9_500_000 - len(content)))
    async with proxy_to(stack.url) as proxy:
        proxy.stall_after = 4_000_000
        process = start("upload", path, "--json", url=proxy.url)
        async with asyncio.timeout(30):
            while proxy.sent < 4_000_000:
                await asyncio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, _ = await asyncio.to_thread(process.communicate, timeout=30)
        assert process.returncode == 130
        assert json.loads(out.splitlines()[-1]) == {"sent": 0, "skipped": 0, "refused": 0}
        proxy.break_all()  # else what the kernel has of it would still arrive
        before, proxy.stall_after = proxy.sent, None
        process = start("upload", path, "--json", url=proxy.url)
        out, _ = await asyncio.to_thread(process.communicate, timeout=60)
        assert (process.returncode, json.loads(out.splitlines()[-1])["sent"]) == (0, 1)
        assert proxy.sent - before < 7_000_000, "what had arrived is not sent again"


def test_a_folder_is_watched(start, library, stack):
    process = start("upload", library, "--watch", "--json")
    seen = [json.loads(process.stdout.readline()) for _ in range(2)]
    late = library / "late.jpg"
    late.write_bytes(photos.a_jpeg(320, 240, comment=os.urandom(8)))
    seen.append(json.loads(process.stdout.readline()))
    assert names(seen, "sent") == ["late.jpg", "one.jpg", "two.JPEG"]
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, json.loads(out)) == (130, {"sent": 3, "skipped": 0, "refused": 0})


def test_the_hash_of_a_file_is_kept_until_it_changes(run, library, tmp_path):
    assert run("upload", library / "one.jpg")[1][-1]["sent"] == 1
    assert run("upload", library / "one.jpg")[1][-1]["skipped"] == 1
    (library / "one.jpg").write_bytes(photos.a_jpeg(320, 240, comment=os.urandom(8)))
    assert run("upload", library / "one.jpg")[1][-1]["sent"] == 1
    assert (tmp_path / "cache" / "gallery" / "uploads.sqlite").exists()


def test_images_are_listed_shown_exported_and_deleted(run, library, tmp_path, tag):
    run("upload", library, "--tag", tag)
    code, lines, _ = run("list", "--tag", tag)
    assert (code, lines[-1]) == (0, {"images": 2})
    assert run("list", "--tag", tag, "--limit", 1)[1][-1] == {"images": 1}
    ids = [image["id"] for image in lines[:-1]]
    code, [shown, summary], _ = run("show", ids[0])
    assert (code, shown["tags"], summary) == (0, [tag], {"shown": 1, "refused": 0})
    code, lines, _ = run("export", tmp_path / "out", "--tag", tag)
    assert (code, lines[-1]) == (0, {"exported": 2, "skipped": 0, "refused": 0})
    exported = {path.read_bytes() for path in (tmp_path / "out").glob("*.jpg")}
    assert exported == {(library / "one.jpg").read_bytes(), (library / "deep" / "two.JPEG").read_bytes()}
    assert json.loads((tmp_path / "out" / f"{ids[0]}.json").read_text())["id"] == ids[0]
    assert run("export", tmp_path / "out", "--tag", tag)[1][-1] == {"exported": 0, "skipped": 2, "refused": 0}
    assert run("delete", *ids)[1][-1] == {"deleted": 2, "refused": 0}
    assert run("list", "--tag", tag)[1] == [{"images": 0}]


def test_a_link_is_signed(run):
    vector = VECTORS[0]
    arguments = ("sign", vector["image"], vector["query"], "--expires-at", vector["exp"])
    url = "https://img.example.org"
    assert run(*arguments, url=url, GALLERY_LINK_KEY=vector["key"])[1] == [{"url": vector["url"]}]
    assert run(*arguments, url=url)[0] == 2, "without a key"
    assert run("sign", vector["image"], "a b", "--key", vector["key"])[0] == 2


def test_people_read_sentences(start, library):
    process = start("upload", library)
    out, _ = process.communicate(timeout=60)
    assert out.splitlines()[-1] == "2 sent, 0 were there, 0 refused"
