"""The rules for migrations: the version before runs on the new schema while it is being replaced.

They are checked in the SQL that a migration runs. A statement that removes something (contracts) may only come a
release after the last code that used it, and the migration says so:
`CONTRACTS = "nothing has used image.colour since 0.3.0"`.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

FIRST_CHECKED = "005"  # the ones before are of the first release: no version ran beside them
CONTRACTING = (
    r"DROP TABLE",
    r"DROP COLUMN",
    r"DROP FUNCTION",
    r"DROP TYPE",
    r"ALTER TABLE \S+ DROP (?!CONSTRAINT|COLUMN|EXPRESSION|DEFAULT|NOT NULL)",
    r"RENAME",
    r"ALTER (COLUMN )?\S+ (SET DATA )?TYPE",
    r"DROP DEFAULT",
)
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
STRING = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", re.DOTALL)
CREATED = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.IGNORECASE)
INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (CONCURRENTLY )?.*? ON (?:ONLY )?(\w+)", re.IGNORECASE)
ALTERED = re.compile(r"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?(\w+)", re.IGNORECASE)
WRITTEN = re.compile(r"(?:UPDATE|DELETE FROM) (?:ONLY )?(\w+)", re.IGNORECASE)


@dataclass
class Step:
    """A statement, and whether it stands in the migration's transaction."""

    sql: str
    autocommit: bool


@dataclass
class Recorder:
    """Stands in for Alembic's `op`: only what we use of it is there."""

    steps: list[Step] = field(default_factory=list)
    _autocommit: bool = False

    def execute(self, statement: str) -> None:
        bare = STRING.sub("''", COMMENT.sub("", statement))
        self.steps.append(Step(" ".join(bare.split()), self._autocommit))

    def get_bind(self) -> SimpleNamespace:
        return SimpleNamespace(execute=lambda _: SimpleNamespace(scalar=lambda: "1s"))

    def get_context(self) -> SimpleNamespace:
        return SimpleNamespace(autocommit_block=self._autocommit_block)

    @contextmanager
    def _autocommit_block(self) -> Iterator[None]:
        self._autocommit = True
        yield
        self._autocommit = False


def violations(migration: ModuleType) -> list[str]:
    """The rules that a migration breaks, each as a sentence."""
    recorder = Recorder()
    before, migration.op = migration.op, recorder
    try:
        migration.upgrade()
    finally:
        migration.op = before
    new = {name for step in recorder.steps for name in CREATED.findall(step.sql)}
    allowed = bool(getattr(migration, "CONTRACTS", ""))
    return [
        *(fault for step in recorder.steps for fault in _step_violations(step, new, contracts=allowed)),
        *_lock_violations(recorder.steps, new),
    ]


def _step_violations(step: Step, new: set[str], *, contracts: bool) -> Iterator[str]:
    sql = step.sql
    if not contracts and any(re.search(rule, sql, re.IGNORECASE) for rule in CONTRACTING):
        yield f"takes away what the version before may use: {sql}"
    for concurrently, table in INDEX.findall(sql):
        if table not in new and not concurrently:
            yield f"an index on a table with rows is made CONCURRENTLY, in an `outside_transaction`: {sql}"
    if "CONCURRENTLY" in sql.upper() and not step.autocommit:
        yield f"CONCURRENTLY cannot stand in a transaction, but in an `outside_transaction`: {sql}"
    if not set(ALTERED.findall(sql)) <= new:
        yield from _existing_table_violations(sql)


def _existing_table_violations(sql: str) -> Iterator[str]:
    adds = [part for part in re.split(r", (?=ADD|ALTER|DROP)", sql, flags=re.IGNORECASE) if " ADD " in f" {part} "]
    for part in adds:
        if "NOT NULL" in part and not re.search(r"DEFAULT|GENERATED", part):
            yield f"the version before does not know this column, and leaves it empty: {part}"
        if re.search(r"GENERATED ALWAYS AS .* STORED|DEFAULT (gen_random_uuid|clock_timestamp|random)\(", part):
            yield f"rewrites every row while no session can read: {part}"
        if re.search(r"\b(CHECK|FOREIGN KEY|REFERENCES|UNIQUE|PRIMARY KEY|EXCLUDE)\b", part) and not re.search(
            r"NOT VALID|USING INDEX", part
        ):
            yield f"reads every row while no session can write: add it NOT VALID, and validate it by itself: {part}"
    if re.search(r"SET NOT NULL", sql):
        yield f"the version before may leave it empty, and every row is read: {sql}"


def _lock_violations(steps: list[Step], new: set[str]) -> Iterator[str]:
    locked = {table for step in steps if not step.autocommit for table in ALTERED.findall(step.sql)} - new
    for step in steps:
        for table in WRITTEN.findall(step.sql):
            if table in locked and not step.autocommit and "ALTER TABLE" not in step.sql:
                yield f"rows are changed in a migration after the one that locks {table}: {step.sql}"
    if len(locked) > 1:
        yield f"locks several tables, and may deadlock with a session that does so in another order: {sorted(locked)}"
