"""When a key whose put its sender has given up is looked at once more: the object may arrive after it was removed."""

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute("ALTER TABLE object ADD COLUMN remove_again_at timestamptz")
