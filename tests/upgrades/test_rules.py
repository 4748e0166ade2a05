"""Migrations expand first and contract a release later, and keep nobody waiting."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from gallery.adapters.postgres.database import SCHEMA_REVISION
from gallery.adapters.postgres.migrations import outside_transaction
from upgrades.rules import FIRST_CHECKED, violations

FOLDER = Path(__file__).resolve().parents[2] / "migrations" / "versions"


def migration(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_migration_breaks_the_rules():
    looked_at = [path for path in sorted(FOLDER.glob("[0-9]*.py")) if path.name[:4] >= FIRST_CHECKED]
    assert looked_at[-1].name.startswith(SCHEMA_REVISION)
    assert {path.name: violations(migration(path)) for path in looked_at} == {path.name: [] for path in looked_at}


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DROP TABLE event", "takes away"),
        ("ALTER TABLE image DROP COLUMN alt", "takes away"),
        ("ALTER TABLE image DROP alt", "takes away"),
        ("ALTER TABLE image RENAME COLUMN alt TO words", "takes away"),
        ("ALTER TABLE image ALTER alt TYPE bytea USING alt::bytea", "takes away"),
        ("CREATE INDEX x ON image (alt)", "CONCURRENTLY, in a beside_everybody"),
        ("CREATE INDEX CONCURRENTLY x ON image (alt)", "cannot stand in a transaction"),
        ("ALTER TABLE image ADD colour text NOT NULL", "leaves it empty"),
        ("ALTER TABLE image ADD a text, ADD b text NOT NULL", "leaves it empty"),
        ("ALTER TABLE image ADD words text GENERATED ALWAYS AS (alt) STORED", "writes every row anew"),
        ("ALTER TABLE image ADD CONSTRAINT x CHECK (size > 0)", "NOT VALID"),
        ("ALTER TABLE image ALTER width SET NOT NULL", "every row is read"),
        ("ALTER TABLE image ADD colour text; UPDATE image SET colour = 'red'", "rows are changed"),
        ("ALTER TABLE image ADD colour text; ALTER TABLE event ADD colour text", "several tables"),
    ],
)
def test_what_would_stop_the_version_before_is_found(sql, why):
    [fault] = violations(migration_of(sql))
    assert why in fault


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE image ADD colour text",
        "ALTER TABLE image ADD colour text NOT NULL DEFAULT 'red'",
        "ALTER TABLE image ADD CONSTRAINT x CHECK (size > 0) NOT VALID",
        "CREATE TABLE album (id uuid PRIMARY KEY, name text CHECK (name > '')); CREATE INDEX x ON album (name)",
        "-- DROP TABLE image\nSELECT 'ALTER TABLE image DROP alt'",
    ],
)
def test_what_only_adds_is_let_pass(sql):
    assert violations(migration_of(sql)) == []


def test_what_takes_away_says_since_when_nobody_uses_it():
    contracting = migration_of("ALTER TABLE image DROP COLUMN alt")
    contracting.CONTRACTS = "nothing has used image.alt since 0.3.0"
    assert violations(contracting) == []


def test_an_index_by_itself_is_let_pass():
    module = migration_of("")

    def upgrade() -> None:
        with outside_transaction(module.op):
            module.op.execute("CREATE INDEX CONCURRENTLY x ON image (alt)")

    module.upgrade = upgrade
    assert violations(module) == []


def migration_of(sql: str) -> ModuleType:
    module = ModuleType("migration")
    module.op = None

    def upgrade() -> None:
        for statement in sql.split(";"):
            module.op.execute(statement)

    module.upgrade = upgrade
    return module
