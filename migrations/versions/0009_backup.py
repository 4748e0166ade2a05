"""Backups: which one was made when, until when removals are frozen, and when it was last proved."""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # `began_at` is before the snapshot, so it is how old what can be restored is. `created_at` is set when it is whole.
    """
    CREATE TABLE backup (
        id           uuid PRIMARY KEY,
        place        text NOT NULL,
        began_at     timestamptz NOT NULL DEFAULT now(),
        frozen_until  timestamptz NOT NULL,
        created_at   timestamptz,
        verified_at  timestamptz
    )
    """,
    "CREATE INDEX backup_freeze ON backup (frozen_until)",
]
