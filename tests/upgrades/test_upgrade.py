"""The version before goes on serving and rendering on the new schema, and hands over to the new one, under load."""

import asyncio
import io
import re
import shutil
import subprocess
import tarfile
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from faults.checker import check
from faults.load import Load, ReceivedEvents, listen
from gallery.adapters.postgres.database import SCHEMA_REVISION
from gallery_processes import api, run_gallery, worker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def previous_source(tmp_path_factory):
    """The source of the last version that did not have the newest migration, from the repository's history."""
    newest = next((ROOT / "migrations" / "versions").glob(f"{SCHEMA_REVISION}_*.py")).relative_to(ROOT)
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest)).strip()
    parent = _git("rev-parse", "--verify", "--quiet", f"{added}^").strip() if added else ""
    if not parent:
        pytest.skip("The history is not here (git clone --unshallow): without it there is no version before.")
    if _newest_revision(parent) is None:
        pytest.skip("The version before has no migrations, or those of the numbering before the first release.")
    folder = tmp_path_factory.mktemp("before")
    archive = subprocess.run(["git", "archive", parent, "src", "migrations"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


async def test_an_upgrade_under_load_loses_nothing_and_refuses_no_request(
    previous_source, environment, database, tmp_path
):
    environment = {**environment, "DATABASE_URL": database, "TMPDIR": str(tmp_path)}  # no other test cleans it
    old = {**environment, "PYTHONPATH": str(previous_source / "src")}
    its_schema = max(path.name[:3] for path in previous_source.glob("migrations/versions/*.py"))
    assert its_schema < SCHEMA_REVISION
    async with AsyncExitStack() as cluster, AsyncExitStack() as replaced:
        old_api = await replaced.enter_async_context(api(old, tmp_path / "old"))
        old_worker = await replaced.enter_async_context(worker(old, tmp_path / "old"))
        assert await _revision(database) == its_schema, "it has made its own schema"
        heard = ReceivedEvents()
        hearing = asyncio.create_task(listen(old_api.url, heard))
        async with asyncio.timeout(20):
            while not heard.connections:
                await asyncio.sleep(0.02)
        load = Load(old_api.url, rate=6)
        loading = asyncio.create_task(load.run(4))
        await asyncio.sleep(1)

        async with run_gallery(environment, tmp_path / "migrate", "migrate") as migrating:
            assert await migrating.process.wait() == 0
        assert await _revision(database) == SCHEMA_REVISION
        new_api = await cluster.enter_async_context(api(environment, tmp_path / "new"))
        await cluster.enter_async_context(worker(environment, tmp_path / "new"))
        await loading  # all of it by the version before

        load.url = new_api.url
        loading = asyncio.create_task(load.run(2))
        await asyncio.gather(old_worker.stop(), old_api.stop())
        hearing.cancel()
        hearing = asyncio.create_task(listen(new_api.url, heard))  # comes back with the last id from the version before
        await loading
        try:
            await check(environment, new_api.url, load, [heard])
        finally:
            hearing.cancel()
        assert load.retries == 0, "no request was refused"
        assert (old_api.process.returncode, old_worker.process.returncode) == (0, 0)
        assert "Traceback" not in old_api.log_text() + old_worker.log_text() + new_api.log_text()


def _git(*words: str) -> str:
    if shutil.which("git") is None:
        return ""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout


def _newest_revision(commit: str) -> str | None:
    """The newest migration of three digits at that commit."""
    files = _git("ls-tree", "--name-only", commit, "migrations/versions/")
    return max(re.findall(r"^migrations/versions/(\d{3})_", files, re.MULTILINE), default=None)


async def _revision(database: str) -> str:
    db = await asyncpg.connect(database)
    try:
        return await db.fetchval("SELECT version_num FROM alembic_version")
    finally:
        await db.close()
