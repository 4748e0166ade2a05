"""Whose turn it is: an image's place among those of its owner, and a third lane for what we do by ourselves."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    "ALTER TABLE image ADD queue_position integer NOT NULL DEFAULT 1 CHECK (queue_position >= 1)",
    "ALTER TABLE image DROP CONSTRAINT image_lane_check",
    "ALTER TABLE image ADD CONSTRAINT image_lane_check CHECK (lane IN ('interactive', 'bulk', 'maintenance'))",
    "CREATE INDEX image_backlog ON image (owner, lane) WHERE work = 'due' AND deleted_at IS NULL",
    # Which image of each owner has waited longest.
    "CREATE INDEX image_longest_due ON image (owner, next_attempt_at) WHERE work = 'due' AND deleted_at IS NULL",
]
