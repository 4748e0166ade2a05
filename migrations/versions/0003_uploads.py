"""The same bytes twice are one image, and the same request twice is one upload."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # Whoever had uploaded the same bytes twice before this rule keeps both; only the oldest is found by its bytes.
    "ALTER TABLE image ADD COLUMN older_rule boolean NOT NULL DEFAULT false",
    """
    UPDATE image SET older_rule = true WHERE deleted_at IS NULL AND id NOT IN (
        SELECT DISTINCT ON (owner, sha256) id FROM image WHERE deleted_at IS NULL ORDER BY owner, sha256, created_at, id
    )
    """,
    "CREATE UNIQUE INDEX image_bytes ON image (owner, sha256) WHERE deleted_at IS NULL AND NOT older_rule",
    # While a request is being answered there is no `status`, and `ends_at` is when its lease ends; then the answer
    # stands here, until `ends_at`.
    """
    CREATE TABLE idempotency (
        owner        text NOT NULL,
        route        text NOT NULL,
        key          text NOT NULL,
        holder       uuid NOT NULL,
        ends_at      timestamptz NOT NULL,
        fingerprint  text,
        status       integer,
        image_id     uuid,
        body         bytea,
        PRIMARY KEY (owner, route, key)
    )
    """,
    "CREATE INDEX idempotency_end ON idempotency (ends_at)",
]
