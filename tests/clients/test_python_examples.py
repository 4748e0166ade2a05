"""The programs of examples/python, as their READMEs start them."""

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

import photos
from browsers import chromium
from credentials import run_command
from gallery_client import Gallery
from gallery_processes import base_environment, dev, free_port

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "python"
COPY = re.compile(r"^<!-- (examples/python/\S+) -->\n\n```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def a_photo() -> bytes:
    return photos.a_jpeg(640, 480, comment=os.urandom(8))


@asynccontextmanager
async def running(*command: object, **environment: str):
    """The program, and its lines; it ends by Ctrl-C."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *map(str, command),
        env={**base_environment(), "PYTHONUNBUFFERED": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


async def line(process) -> str:
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


def test_the_page_shows_the_programs_as_they_are():
    copies = COPY.findall((ROOT / "docs" / "app" / "python.md").read_text())
    assert {name for name, _ in copies} == {str(path.relative_to(ROOT)) for path in EXAMPLES.rglob("*.py")}
    assert [name for name, code in copies if code != (ROOT / name).read_text()] == []


def test_the_programs_are_short():
    for pattern, lines in (("*.py", 80), ("*.html", 80), ("*.md", 15)):
        found = list(EXAMPLES.rglob(pattern))
        assert found
        assert [path for path in found if len(path.read_text().splitlines()) > lines] == []


async def test_the_watcher_sends_what_appears_in_its_folder(stack, tmp_path):
    (tmp_path / "old.jpg").write_bytes(a_photo())
    async with running(EXAMPLES / "watcher" / "watcher.py", tmp_path, GALLERY_URL=stack.url) as watcher:
        name, _, url = (await line(watcher)).partition(": ")
        async with httpx.AsyncClient() as client:
            picture = await client.get(url)
        assert (name, photos.opened(picture.content).size) == ("old.jpg", (400, 400))
        (tmp_path / "bad.jpg").write_text("no picture")
        assert "not_a_picture" in await line(watcher)
        (tmp_path / "new.jpg").write_bytes(a_photo())
        assert (await line(watcher)).startswith("new.jpg: http")
    assert watcher.returncode == 0


@pytest.fixture
async def closed(tmp_path):
    """A Gallery that lets in a page of another origin, with a key: its URL, the key and the origin."""
    origin = f"http://127.0.0.1:{free_port()}"
    settings = {"GALLERY_ACCESS__OPEN": "false", "CORS_ORIGIN": origin}
    async with dev(base_environment(), tmp_path, **settings) as gallery:
        environment = {**base_environment(), "GALLERY_DATA_DIR": str(gallery.data)}
        scopes = ("--scope", "images:write", "--scope", "images:read")
        _, output, _ = await run_command(environment, "keys", "create", "--owner", "maya", *scopes, "--json")
        yield gallery.url, json.loads(output.splitlines()[-1])["key"], origin


async def test_visitors_upload_by_tickets(closed, tmp_path):
    url, key, origin = closed
    app = ("-m", "flask", "--app", EXAMPLES / "tickets" / "app", "run", "--port", origin.rpartition(":")[2])
    photo, text = tmp_path / "lake.jpg", tmp_path / "text.jpg"
    photo.write_bytes(a_photo())
    text.write_text("no picture")
    async with running(*app, GALLERY_URL=url, GALLERY_TOKEN=key), chromium() as browser:
        page = await browser.new_page()
        async with asyncio.timeout(20):
            while not await is_up(origin):
                await asyncio.sleep(0.1)
        await page.goto(origin)
        await page.set_input_files("#files", [photo])
        await page.get_by_role("status").get_by_text("lake.jpg is there.").wait_for()
        assert (
            await page.locator("#photos img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 320
        )
        await page.set_input_files("#files", [text])
        await page.get_by_role("status").get_by_text(re.compile("^text.jpg: ")).wait_for()
    with Gallery(url, key) as gallery:
        [image] = gallery.images(tags=["visitors"])
    assert (image.title, image.status) == ("lake", "READY")


async def is_up(origin: str) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(origin)).is_success
        except httpx.TransportError:
            return False


async def test_an_app_without_gallery_says_so():
    origin = f"http://127.0.0.1:{free_port()}"
    app = ("-m", "flask", "--app", EXAMPLES / "tickets" / "app", "run", "--port", origin.rpartition(":")[2])
    async with (
        running(*app, GALLERY_URL="http://img.invalid", GALLERY_TOKEN="x"),
        httpx.AsyncClient(timeout=60) as client,
    ):
        async with asyncio.timeout(20):
            while not await is_up(origin):
                await asyncio.sleep(0.1)
        answer = await client.post(f"{origin}/ticket")
    assert (answer.status_code, answer.json()["code"]) == (502, "unavailable")
