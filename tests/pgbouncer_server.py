"""A real PgBouncer in transaction mode before a real PostgreSQL: each transaction may get another server connection."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from gallery.embedded import processes
from gallery.embedded.account import Account
from gallery.embedded.launch import free_port

SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
CONFIG = """
[databases]
* = host=127.0.0.1 port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
admin_users = gallery
"""


@asynccontextmanager
async def pgbouncer(database_url: str, folder: Path) -> AsyncIterator[str]:
    """Yields the URL of the same database through PgBouncer."""
    program = shutil.which("pgbouncer", path=SEARCH_PATH)
    if program is None:
        pytest.skip("pgbouncer is missing: tests/install-tools installs it as root on Debian")
    url, own = urlsplit(database_url), free_port(None, set())
    users, config = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{url.username}" "{url.password}"\n')
    config.write_text(CONFIG.format(port=url.port, own=own, users=users))
    with (folder / "pgbouncer.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*_as_ordinary_user(Path(program), folder), config, stderr=log)
    through = database_url.replace(f":{url.port}/", f":{own}/")
    try:
        await _wait_until_ready(through, process, folder / "pgbouncer.log")
        yield through
    finally:
        await processes.terminate_child(process, [2, 9], 5)


def _as_ordinary_user(program: Path, folder: Path) -> list[str]:
    """PgBouncer does not run as root either."""
    account = Account.find(None)
    return [*(account.for_path(folder).launch_prefix(program, folder) if account else []), str(program)]


async def _wait_until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(20):
        while process.returncode is None:
            try:
                connection = await asyncpg.connect(url, statement_cache_size=0)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
            else:
                await connection.close()
                return
    raise AssertionError(log.read_text())
