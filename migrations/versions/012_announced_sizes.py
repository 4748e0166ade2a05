"""Uploads whose last request says that it is the last one."""

from alembic import op

revision = "012"
down_revision = "011"


def upgrade() -> None:
    op.execute(ANNOUNCED)


# What the sender has said of the size, where `size` stays NULL until all bytes are there.
ANNOUNCED = "ALTER TABLE upload ADD COLUMN announced bigint"
