"""`gallery-client show`, `export`, `delete` and `list`, where some images are refused or the reader stops."""

import asyncio
import json

import httpx

from clients_proxy import canned
from gallery_client import Gallery

UNKNOWN = "01990000-0000-7000-8000-000000000000"


def uploaded(run, library, tag: str) -> list[dict]:
    run("upload", library, "--tag", tag)
    return run("list", "--tag", tag)[1][:-1]


def test_an_unknown_image_does_not_stop_the_others(run, library, tag):
    first, second = uploaded(run, library, tag)
    for command, done in (("show", "shown"), ("delete", "deleted")):
        code, lines, _ = run(command, first["id"], UNKNOWN, second["id"])
        assert (code, lines[-1]) == (1, {done: 2, "refused": 1})
        [refused] = [line for line in lines[:-1] if line.get("status") == "refused"]
        assert (refused["image"], refused["code"]) == (UNKNOWN, "image_not_found")


def test_the_last_line_is_a_summary_also_without_a_server(run, monkeypatch):
    monkeypatch.setattr("gallery_client.cli.main.RETRY_FOR", 0.0)
    for arguments, summary in (
        (("list",), {"images": 0}),
        (("show", UNKNOWN), {"shown": 0, "refused": 0}),
        (("delete", UNKNOWN), {"deleted": 0, "refused": 0}),
        (("export", "out"), {"exported": 0, "skipped": 0, "refused": 0}),
    ):
        code, lines, error = run(*arguments, url="http://127.0.0.1:1")
        assert (code, lines, error.count("\n")) == (3, [summary], 1)


def test_an_export_is_completed_and_its_facts_are_current(run, library, stack, tmp_path, tag):
    [one, two] = uploaded(run, library, tag)
    run("export", "out", "--tag", tag)
    out = tmp_path / "out"
    (out / f"{one['id']}.json").unlink()
    (out / f"{two['id']}.jpg").write_bytes(b"cut off")
    with Gallery(stack.url) as kit:
        kit.edit(two["id"], title="Lake")
    assert run("export", "out", "--tag", tag)[1][-1] == {"exported": 1, "skipped": 1, "refused": 0}
    assert json.loads((out / f"{one['id']}.json").read_text())["title"] == one["title"]
    assert json.loads((out / f"{two['id']}.json").read_text())["title"] == "Lake"
    assert (out / f"{two['id']}.jpg").stat().st_size == two["size"]
    assert len(list(out.iterdir())) == 4


async def test_an_answer_never_leads_out_of_the_folder(start, proxy, stack, tmp_path, kit, photo):
    image = await kit.upload(photo)
    async with httpx.AsyncClient(base_url=stack.url) as client:
        facts = (await client.get(f"/api/v1/images/{image.id}")).json()
    for harm in ({"id": "../../up"}, {"mimeType": "image/x\\..\\up"}, {"id": "/etc/up"}):
        proxy.answers = [canned(200, json.dumps([facts | harm]), Content_Type="application/json")]
        process = start("export", "out", "--json", url=proxy.url)
        out, _ = await asyncio.to_thread(process.communicate, timeout=60)
        assert json.loads(out.splitlines()[-1]) == {"exported": 0, "skipped": 0, "refused": 1}
    assert list(tmp_path.rglob("*up*")) == list((tmp_path / "out").iterdir()) == []


def test_two_exports_into_one_folder_do_not_disturb_each_other(start, run, library, tmp_path, tag):
    uploaded(run, library, tag)
    exports = [start("export", "out", "--json", "--tag", tag) for _ in range(3)]
    assert [(export.wait(timeout=60), export.stderr.read()) for export in exports] == [(0, "")] * 3
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_a_reader_that_stops_ends_the_command_quietly(start, run, library, tag):
    uploaded(run, library, tag)
    process = start("list", "--tag", tag)
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == ""
    again = start("upload", library)
    again.stdout.close()
    assert (again.wait(timeout=60), again.stderr.read()) == (141, "")


def test_json_lines_are_utf_8_everywhere(start, library, tag):
    (library / "one.jpg").rename(library / "Zürich 湖.jpg")
    process = start("upload", library, "--json", "--tag", tag, PYTHONIOENCODING="ascii")
    out, _ = process.communicate(timeout=60)
    assert any(json.loads(line).get("file", "").endswith("Zürich 湖.jpg") for line in out.splitlines())
    plain = start("list", "--tag", tag, PYTHONIOENCODING="ascii")
    out, error = plain.communicate(timeout=60)
    assert (plain.returncode, error, "Z\\xfcrich \\u6e56" in out) == (0, "", True)
