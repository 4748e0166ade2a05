"""The events of one owner in their order: what a client is replayed that comes back."""

from alembic import op

from gallery.adapters.postgres.migrations import outside_transaction

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with outside_transaction(op):
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS event_of_owner")
        op.execute("CREATE INDEX CONCURRENTLY event_of_owner ON event (owner, number) WHERE number IS NOT NULL")
