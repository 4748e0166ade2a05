"""What operators do with the queue, and who works."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # Since when nobody takes work. In a row, since Valkey may forget it.
    "ALTER TABLE installation ADD paused_at timestamptz",
    # A FAILED image that an operator has looked at: it is FAILED as before, but no longer waits for one.
    "ALTER TABLE image ADD dropped_at timestamptz",
    """
    CREATE INDEX image_failed ON image (updated_at, id)
    WHERE status = 'FAILED' AND deleted_at IS NULL AND dropped_at IS NULL
    """,
    "CREATE INDEX timeline_settled ON timeline (at, stage) WHERE stage IN ('ready', 'failed')",
    # A worker that has ended or is lost stays for an hour.
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
]
