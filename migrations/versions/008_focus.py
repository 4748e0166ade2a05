"""The point of a picture that crops keep in sight."""

from alembic import op

revision = "008"
down_revision = "007"


def upgrade() -> None:
    op.execute("ALTER TABLE image ADD focus point")  # x and y from 0 to 1, of the upright picture; NULL: not set
