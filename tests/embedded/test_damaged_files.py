"""Valkey's files after a power cut: damaged ones are set aside, and only damaged ones."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from embedded.test_recovery import start_application, stop
from factories import upload_image
from gallery.adapters.postgres.migrations import migrate
from gallery.cli.startup import with_server_urls
from gallery.embedded.datadir import DataDir, RunInfo
from gallery.embedded.servers import open_servers
from gallery.embedded.valkey import MAX_KEPT_FOLDERS, EmbeddedValkey
from gallery.errors import CannotStart, StartAgain
from gallery.settings import Settings
from gallery.wiring import open_gallery


def file_named(name: str) -> Callable[[Path], Path]:
    """Returns a function that finds a file of the folder in use."""
    return lambda data_dir: max(max(data_dir.glob("valkey/appendonlydir*")).glob(f"*{name}"))


def set_aside_folders(data_dir: Path) -> list[Path]:
    return sorted(data_dir.glob("valkey/appendonlydir*"))[:-1]


manifest, base, increment = file_named(".manifest"), file_named(".base.rdb"), file_named(".incr.aof")


def append_zeroes(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0" * 4096)


def fill_with_zeroes(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def cut_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def change_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)


def change_command(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"*2\r\n$3\r\nSEX\r\n$1\r\na\r\n")


async def list_keys(running: RunInfo) -> list[bytes]:
    async with redis.asyncio.from_url(running.redis_url) as valkey:
        return sorted(await valkey.keys())


async def write_key_in_each_file(data_dir: Path) -> None:
    async with (
        open_servers(data_dir, postgres=False) as running,
        redis.asyncio.from_url(running.redis_url) as valkey,
    ):
        await valkey.set("a", "1")
        await valkey.bgrewriteaof()
        async with asyncio.timeout(20):
            while not list(data_dir.glob("valkey/appendonlydir/*.2.base.rdb")):
                await asyncio.sleep(0.02)
        await valkey.set("b", "2")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (increment, append_zeroes),
        (increment, Path.unlink),
        (increment, fill_with_zeroes),
        (increment, change_command),
        (manifest, truncate),
        (manifest, fill_with_zeroes),
        (manifest, cut_end),
        (base, Path.unlink),
        (base, fill_with_zeroes),
        (base, cut_end),
        (base, change_checksum),
    ],
)
async def test_damaged_files_are_set_aside_with_one_line(data_dir, file, damage):
    await write_key_in_each_file(data_dir)
    damage(file(data_dir))
    before = read_contents(data_dir / "valkey" / "appendonlydir")
    with capture_logs() as logs:
        async with open_servers(data_dir, postgres=False) as running:
            assert await list_keys(running) == []
    (line,) = [line for line in logs if line["event"] == "valkey.set_aside"]
    assert line["reason"]
    assert read_contents(Path(line["directory"])) == before
    assert (data_dir / "valkey" / line["instead"]).is_dir()


async def test_the_new_folder_is_used_by_the_next_start(data_dir):
    async with open_servers(data_dir, postgres=False):
        pass
    truncate(manifest(data_dir))
    async with (
        open_servers(data_dir, postgres=False) as running,
        redis.asyncio.from_url(running.redis_url) as valkey,
    ):
        await valkey.set("c", "3")
    async with open_servers(data_dir, postgres=False) as running:
        assert await list_keys(running) == [b"c"]
    assert len(set_aside_folders(data_dir)) == 1


def read_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_files_that_valkey_repairs_itself_stay(data_dir):
    await write_key_in_each_file(data_dir)
    path = increment(data_dir)
    os.truncate(path, path.stat().st_size - 7)  # within the last command
    async with open_servers(data_dir, postgres=False) as running:
        assert await list_keys(running) == [b"a"]
    assert not set_aside_folders(data_dir)


async def test_only_the_newest_are_kept(data_dir):
    for _ in range(MAX_KEPT_FOLDERS + 2):
        async with open_servers(data_dir, postgres=False):
            pass
        truncate(manifest(data_dir))
    assert len(set_aside_folders(data_dir)) == MAX_KEPT_FOLDERS


async def test_gallery_dev_starts_on_damaged_files_too(data_dir):
    await write_key_in_each_file(data_dir)
    append_zeroes(increment(data_dir))
    application, running = await start_application(data_dir)
    assert await list_keys(running) == []
    assert await stop(application) == 0


async def test_a_port_that_is_taken_sets_nothing_aside(data_dir):
    await write_key_in_each_file(data_dir)
    valkey = EmbeddedValkey(DataDir.open(data_dir))
    await valkey.prepare()
    with socket.create_server(("127.0.0.1", 0)) as other:
        valkey.port = other.getsockname()[1]
        process = await valkey.start()
        await process.wait()
        with pytest.raises(CannotStart) as caught:
            valkey._is_ready = never
            await valkey.ready(process)
    assert not isinstance(caught.value, StartAgain)
    assert not set_aside_folders(data_dir)


async def test_files_that_cannot_be_opened_are_not_set_aside(data_dir):
    (data_dir / "valkey").mkdir(parents=True)
    (data_dir / "valkey" / "appendonlydir").touch()
    with pytest.raises(CannotStart, match="Not a directory"):
        async with open_servers(data_dir, postgres=False):
            pass
    assert (data_dir / "valkey" / "appendonlydir").is_file()


async def test_the_sweep_refills_the_queue(data_dir):
    async with open_servers(data_dir) as running:
        settings = with_server_urls(Settings(data_dir=str(data_dir)), running.database_url, running.redis_url)
        await asyncio.to_thread(migrate, str(running.database_url))
        async with open_gallery(settings) as gallery:
            await upload_image(gallery)
    append_zeroes(increment(data_dir))
    async with open_servers(data_dir) as running:
        settings = with_server_urls(Settings(data_dir=str(data_dir)), running.database_url, running.redis_url)
        async with open_gallery(settings) as gallery:
            assert sum((await gallery.queue.counts()).values()) == 0
            async with gallery.database.writing() as db:  # as if the image had waited for a while
                await db.execute("UPDATE image SET enqueued_at = enqueued_at - interval '1 hour'")
            await gallery.sweep.run()
            assert sum((await gallery.queue.counts()).values()) == 1


async def never() -> bool:
    return False
