"""`gallery-client upload --watch`, beside programs that write and servers that are away for a while."""

import asyncio
import json
import os
import queue
import signal
import threading
import zipfile

import pytest

import photos
from clients_proxy import canned


class Watching:
    def __init__(self, process) -> None:
        self.process = process
        self._lines: queue.Queue[dict] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    async def next(self) -> dict:
        return await asyncio.to_thread(self._lines.get, timeout=30)

    def seen(self) -> int:
        return self._lines.qsize()

    async def end(self) -> dict:
        """The summary."""
        self.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(self.process.wait, timeout=30)
        assert self.process.returncode == 130
        return await self.next()


@pytest.fixture
def watch(start):
    return lambda *arguments, **environment: Watching(start("upload", *arguments, "--watch", "--json", **environment))


def a_photo() -> bytes:
    return photos.a_jpeg(64, 48, comment=os.urandom(8))


async def test_a_file_that_is_still_written_is_sent_once_it_is_whole(watch, tmp_path):
    """Also if the command starts meanwhile."""
    folder = tmp_path / "camera"
    folder.mkdir()
    content = a_photo()
    with (folder / "slow.jpg").open("wb") as file:
        watching = None
        for start in range(0, len(content), len(content) // 5):
            file.write(content[start : start + len(content) // 5])
            file.flush()
            watching = watching or watch(folder)
            await asyncio.sleep(0.8)
        assert watching.seen() == 0
    line = await watching.next()
    assert (line["status"], line["file"]) == ("sent", str(folder / "slow.jpg"))
    assert await watching.end() == {"sent": 1, "skipped": 0, "refused": 0}


async def test_an_archive_that_is_still_written_is_no_fault(watch, tmp_path):
    archive = tmp_path / "album.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("one.jpg", a_photo())
    content = archive.read_bytes()
    archive.write_bytes(content[:-30])
    watching = watch(archive)
    await asyncio.sleep(1.5)
    archive.write_bytes(content)
    line = await watching.next()
    assert (line["status"], line["file"]) == ("sent", f"{archive}:one.jpg")
    assert await watching.end() == {"sent": 1, "skipped": 0, "refused": 0}


async def test_a_server_that_is_away_for_a_while_ends_nothing(watch, proxy, tmp_path):
    folder = tmp_path / "camera"
    folder.mkdir()
    watching = watch(folder, url=proxy.url)
    while not proxy.requests:
        await asyncio.sleep(0.05)
    (folder / "bad.jpg").write_text("no picture")
    assert (await watching.next())["status"] == "refused"
    proxy.answers = [canned(503, Retry_After="300")] * 2
    (folder / "good.jpg").write_bytes(a_photo())
    line = await watching.next()
    assert (line["status"], line["file"]) == ("sent", str(folder / "good.jpg"))
    assert proxy.answers == []
    (folder / "bad.jpg").write_bytes(a_photo())
    assert (await watching.next())["status"] == "sent"
    assert await watching.end() == {"sent": 2, "skipped": 0, "refused": 1}


async def test_a_folder_that_goes_and_comes_again_is_watched_on(watch, tmp_path):
    folder = tmp_path / "card"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(a_photo())
    watching = watch(folder)
    assert (await watching.next())["status"] == "sent"
    folder.rename(tmp_path / "away")
    await asyncio.sleep(2.5)
    (tmp_path / "away").rename(folder)
    (folder / "two.jpg").write_bytes(a_photo())
    assert (await watching.next())["file"].endswith("two.jpg")
    assert await watching.end() == {"sent": 2, "skipped": 0, "refused": 0}
