"""Keys by which other servers sign URLs of pictures."""

from alembic import op

revision = "009"
down_revision = "008"


def upgrade() -> None:
    op.execute(LINK_KEYS)


LINK_KEYS = """
    CREATE TABLE link_key (
        id          text PRIMARY KEY,
        secret      bytea,  -- deleted when the key is revoked
        name        text NOT NULL DEFAULT '',
        created_at  timestamptz NOT NULL DEFAULT now(),
        revoked_at  timestamptz,
        CHECK ((secret IS NULL) = (revoked_at IS NOT NULL))
    )
"""
