"""API keys, of which only a hash is stored, and the keys that sign links, cookies and tickets."""

from alembic import op

revision = "002"
down_revision = "001"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    """
    CREATE TABLE api_key (
        id          text PRIMARY KEY,
        hash        bytea NOT NULL,  -- SHA-256 of the secret, which is random and long
        owner       text NOT NULL CHECK (owner <> ''),
        name        text NOT NULL DEFAULT '',
        scopes      text[] NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT now(),
        expires_at  timestamptz,
        revoked_at  timestamptz
    )
    """,
    """
    CREATE TABLE signing_key (
        id          text PRIMARY KEY,
        secret      bytea NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT now(),
        retired_at  timestamptz
    )
    """,
    # One key signs at a time, also when several processes create the first one or rotate at once.
    "CREATE UNIQUE INDEX signing_key_current ON signing_key ((true)) WHERE retired_at IS NULL",
]
