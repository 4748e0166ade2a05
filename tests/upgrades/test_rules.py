"""Migrations expand first and contract a release later, and block no session for long."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from gallery.adapters.postgres.database import SCHEMA_REVISION
from gallery.adapters.postgres.migrations import outside_transaction
from upgrades.rules import FIRST_CHECKED, violations

MIGRATIONS = sorted((Path(__file__).resolve().parents[2] / "migrations" / "versions").glob("*.py"))


def migration(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_migration_breaks_the_rules():
    checked = [path for path in MIGRATIONS if path.name[:3] >= FIRST_CHECKED]
    assert {path.name: violations(migration(path)) for path in checked} == {path.name: [] for path in checked}


def test_migrations_are_numbered_one_after_the_other():
    numbers = [f"{number:03}" for number in range(1, len(MIGRATIONS) + 1)]
    assert [path.name[:4] for path in MIGRATIONS] == [f"{number}_" for number in numbers]
    steps = [(each.revision, each.down_revision) for each in map(migration, MIGRATIONS)]
    assert steps == list(zip(numbers, [None, *numbers[:-1]], strict=True))
    assert numbers[-1] == SCHEMA_REVISION


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("DROP TABLE event", "takes away"),
        ("ALTER TABLE image DROP COLUMN alt", "takes away"),
        ("ALTER TABLE image DROP alt", "takes away"),
        ("ALTER TABLE image RENAME COLUMN alt TO caption", "takes away"),
        ("ALTER TABLE image ALTER alt TYPE bytea USING alt::bytea", "takes away"),
        ("CREATE INDEX x ON image (alt)", "CONCURRENTLY, in an `outside_transaction`"),
        ("CREATE INDEX CONCURRENTLY x ON image (alt)", "cannot stand in a transaction"),
        ("ALTER TABLE image ADD colour text NOT NULL", "leaves it empty"),
        ("ALTER TABLE image ADD a text, ADD b text NOT NULL", "leaves it empty"),
        ("ALTER TABLE image ADD search text GENERATED ALWAYS AS (alt) STORED", "rewrites every row"),
        ("ALTER TABLE image ADD CONSTRAINT x CHECK (size > 0)", "NOT VALID"),
        ("ALTER TABLE image ALTER width SET NOT NULL", "every row is read"),
        ("ALTER TABLE image ADD colour text; UPDATE image SET colour = 'red'", "rows are changed"),
        ("ALTER TABLE image ADD colour text; ALTER TABLE event ADD colour text", "several tables"),
    ],
)
def test_statements_that_would_break_the_previous_version_are_found(sql, why):
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
def test_a_migration_that_only_adds_is_accepted(sql):
    assert violations(migration_of(sql)) == []


def test_a_removal_says_since_when_the_removed_is_unused():
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
