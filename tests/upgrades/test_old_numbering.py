"""A database or a backup of the numbering before the first release is refused in one sentence."""

import asyncpg
import msgspec
import pytest

from backup.commands import empty_environment
from credentials import run_command
from gallery.adapters.postgres.database import explain_schema
from gallery.adapters.postgres.migrations import migrate
from gallery.errors import CannotStart
from gallery_processes import free_port, run_gallery

REFUSAL = (
    "is at schema 0012, of the numbering before the first release, which cannot be upgraded: "
    "use a new database (or a new GALLERY_DATA_DIR), and upload the images again."
)


@pytest.fixture
async def old_environment(environment):
    await set_revision(environment, "0012")
    return environment


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("migrate",), ("sweep",), ("keys", "list")])
async def test_commands_refuse_an_old_database(old_environment, tmp_path, command):
    async with run_gallery(old_environment, tmp_path / "logs", *command) as refused:
        assert await refused.process.wait() == 2
        assert refused.log_text().splitlines() == [f"gallery: The database {REFUSAL}"]


async def test_dev_refuses_an_old_database(old_environment, tmp_path):
    async with run_gallery(old_environment, tmp_path / "logs", "dev", "--port", str(free_port())) as refused:
        assert await refused.process.wait() == 2
        assert f"The database {REFUSAL}" in refused.log_text()
        assert "Traceback" not in refused.log_text()


async def test_an_old_backup_is_neither_verified_nor_restored(environment, tmp_path):
    backups = tmp_path / "backups"
    assert (await run_command(environment, "backup", "create", str(backups)))[0] == 0
    [manifest] = backups.glob("backups/*/manifest.json")
    content = msgspec.json.decode(manifest.read_bytes())
    manifest.chmod(0o600)
    manifest.write_bytes(msgspec.json.encode({**content, "schema": "0012"}))
    empty = await empty_environment(environment, tmp_path)
    for given, command in ((environment, ("backup", "verify")), (empty, ("restore",))):
        code, _, said = await run_command(given, *command, str(backups))
        assert (code, said.splitlines()) == (2, [f"gallery: The backup {REFUSAL}"])


async def test_an_unknown_revision_is_a_sentence(environment):
    await set_revision(environment, "a1b2")
    code, _, said = await run_command(environment, "migrate")
    assert (code, said) == (2, "gallery: The database is at schema a1b2, which no Gallery has: check DATABASE_URL.\n")
    with pytest.raises(CannotStart, match="No migration of this Gallery leads on"):
        migrate(environment["DATABASE_URL"])


@pytest.mark.parametrize("revision", ["000", "001", "002"])
def test_earlier_revisions_can_be_migrated(revision):
    assert explain_schema(revision) is None


async def set_revision(environment, revision):
    db = await asyncpg.connect(environment["DATABASE_URL"])
    try:
        await db.execute("UPDATE alembic_version SET version_num = $1", revision)
    finally:
        await db.close()
