"""Tickets by which browsers upload, and the images that each has uploaded."""

from alembic import op

revision = "010"
down_revision = "009"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = (
    # Of an image that was deleted, `upload_ticket_image` still has the id: the ticket's stream gets its last event.
    """
    CREATE TABLE upload_ticket (
        id              uuid PRIMARY KEY,
        hash            bytea NOT NULL,  -- SHA-256 of the secret
        owner           text NOT NULL,
        api_key_id      text,  -- of the creator: the ticket ends with its keys
        signing_key_id  text,
        uses            integer NOT NULL,
        uses_left       integer NOT NULL,
        max_bytes       bigint,
        types           text[] NOT NULL,  -- MIME types; an empty array is all
        visibility      text,
        tags            text[] NOT NULL,
        lane            text,
        created_at      timestamptz NOT NULL DEFAULT now(),
        expires_at      timestamptz NOT NULL,
        revoked_at      timestamptz,
        CHECK (uses_left BETWEEN 0 AND uses)
    )
    """,
    "CREATE INDEX upload_ticket_expiry ON upload_ticket (expires_at)",
    """
    CREATE TABLE upload_ticket_image (
        ticket_id  uuid NOT NULL REFERENCES upload_ticket ON DELETE CASCADE,
        image_id   uuid NOT NULL,
        PRIMARY KEY (ticket_id, image_id)
    )
    """,
)
