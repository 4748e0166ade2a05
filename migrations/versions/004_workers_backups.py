"""The workers that operators see, and the backups."""

from alembic import op

revision = "004"
down_revision = "003"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # The row of a worker that has ended or is lost stays for an hour.
    """
    CREATE TABLE worker (
        name         text PRIMARY KEY,
        version      text NOT NULL,
        concurrency  integer NOT NULL,
        started_at   timestamptz NOT NULL DEFAULT now(),
        seen_at      timestamptz NOT NULL DEFAULT now(),
        ended_at     timestamptz
    )
    """,
    # `started_at` is before the snapshot, so it tells how old the state is that can be restored. No object is removed
    # from the store until `frozen_until`.
    """
    CREATE TABLE backup (
        id            uuid PRIMARY KEY,
        location      text NOT NULL,
        started_at    timestamptz NOT NULL DEFAULT now(),
        frozen_until  timestamptz NOT NULL,
        completed_at  timestamptz,
        verified_at   timestamptz
    )
    """,
    "CREATE INDEX backup_frozen_until ON backup (frozen_until)",
]
