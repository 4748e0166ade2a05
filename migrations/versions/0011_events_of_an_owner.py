"""The events of one owner in their order: what a client is replayed that comes back."""

from alembic import op

from gallery.adapters.postgres.migrations import beside_everybody

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with beside_everybody(op):
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS event_of_owner")
        op.execute("CREATE INDEX CONCURRENTLY event_of_owner ON event (owner, number) WHERE number IS NOT NULL")
