"""Valkey's files after a power cut: set aside when they are spoilt, never for another reason."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from cast import uploaded
from embedded.test_recovery import a_house, end
from gallery.adapters.postgres.migrations import migrate
from gallery.cli.startup import located
from gallery.embedded.datadir import DataDir, Running
from gallery.embedded.servers import open_servers
from gallery.embedded.valkey import KEPT, Valkey
from gallery.errors import CannotStart, StartAgain
from gallery.settings import Settings
from gallery.wiring import open_gallery


def the(name: str) -> Callable[[Path], Path]:
    """A file of the folder in use."""
    return lambda data_dir: max(max(data_dir.glob("valkey/appendonlydir*")).glob(f"*{name}"))


def spoilt(data_dir: Path) -> list[Path]:
    return sorted(data_dir.glob("valkey/appendonlydir*"))[:-1]


manifest, base, increment = the(".manifest"), the(".base.rdb"), the(".incr.aof")


def zeroes_behind(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0" * 4096)


def all_zeroes(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def another_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 0xFF
    path.write_bytes(content)


def another_command(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"*2\r\n$3\r\nSEX\r\n$1\r\na\r\n")


async def keys(running: Running) -> list[bytes]:
    async with redis.asyncio.from_url(running.redis_url) as valkey:
        return sorted(await valkey.keys())


async def with_a_key_in_each_file(data_dir: Path) -> None:
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
    ("file", "spoil"),
    [
        (increment, zeroes_behind),
        (increment, Path.unlink),
        (increment, all_zeroes),
        (increment, another_command),
        (manifest, empty),
        (manifest, all_zeroes),
        (manifest, cut),
        (base, Path.unlink),
        (base, all_zeroes),
        (base, cut),
        (base, another_checksum),
    ],
)
async def test_spoilt_files_are_set_aside_with_one_line(data_dir, file, spoil):
    await with_a_key_in_each_file(data_dir)
    spoil(file(data_dir))
    before = contents(data_dir / "valkey" / "appendonlydir")
    with capture_logs() as logs:
        async with open_servers(data_dir, postgres=False) as running:
            assert await keys(running) == []
    (line,) = [line for line in logs if line["event"] == "valkey.set_aside"]
    assert line["reason"]
    assert contents(Path(line["directory"])) == before
    assert (data_dir / "valkey" / line["instead"]).is_dir()


async def test_the_folder_that_took_over_is_read_again(data_dir):
    async with open_servers(data_dir, postgres=False):
        pass
    empty(manifest(data_dir))
    async with (
        open_servers(data_dir, postgres=False) as running,
        redis.asyncio.from_url(running.redis_url) as valkey,
    ):
        await valkey.set("c", "3")
    async with open_servers(data_dir, postgres=False) as running:
        assert await keys(running) == [b"c"]
    assert len(spoilt(data_dir)) == 1


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_what_valkey_repairs_by_itself_stays(data_dir):
    await with_a_key_in_each_file(data_dir)
    path = increment(data_dir)
    os.truncate(path, path.stat().st_size - 7)  # within the last command
    async with open_servers(data_dir, postgres=False) as running:
        assert await keys(running) == [b"a"]
    assert not spoilt(data_dir)


async def test_only_the_newest_are_kept(data_dir):
    for _ in range(KEPT + 2):
        async with open_servers(data_dir, postgres=False):
            pass
        empty(manifest(data_dir))
    assert len(spoilt(data_dir)) == KEPT


async def test_gallery_dev_starts_on_spoilt_files_too(data_dir):
    await with_a_key_in_each_file(data_dir)
    zeroes_behind(increment(data_dir))
    house, running = await a_house(data_dir)
    assert await keys(running) == []
    assert await end(house) == 0


async def test_a_port_that_is_taken_sets_nothing_aside(data_dir):
    await with_a_key_in_each_file(data_dir)
    valkey = Valkey(DataDir.open(data_dir))
    await valkey.prepare()
    with socket.create_server(("127.0.0.1", 0)) as other:
        valkey.port = other.getsockname()[1]
        process = await valkey.start()
        await process.wait()
        with pytest.raises(CannotStart) as caught:
            valkey._answers = never
            await valkey.ready(process)
    assert not isinstance(caught.value, StartAgain)
    assert not spoilt(data_dir)


async def test_files_that_cannot_be_opened_are_not_set_aside(data_dir):
    (data_dir / "valkey").mkdir(parents=True)
    (data_dir / "valkey" / "appendonlydir").touch()
    with pytest.raises(CannotStart, match="Not a directory"):
        async with open_servers(data_dir, postgres=False):
            pass
    assert (data_dir / "valkey" / "appendonlydir").is_file()


async def test_the_sweep_brings_the_queue_back(data_dir):
    async with open_servers(data_dir) as running:
        settings = located(Settings(data_dir=str(data_dir)), running.database_url, running.redis_url)
        await asyncio.to_thread(migrate, str(running.database_url))
        async with open_gallery(settings) as gallery:
            await uploaded(gallery)
    zeroes_behind(increment(data_dir))
    async with open_servers(data_dir) as running:
        settings = located(Settings(data_dir=str(data_dir)), running.database_url, running.redis_url)
        async with open_gallery(settings) as gallery:
            assert sum((await gallery.queue.counts()).values()) == 0
            async with gallery.database.writing() as db:  # as if the photo had waited for a while
                await db.execute("UPDATE image SET rung_at = rung_at - interval '1 hour'")
            await gallery.sweep.run()
            assert sum((await gallery.queue.counts()).values()) == 1


async def never() -> bool:
    return False
