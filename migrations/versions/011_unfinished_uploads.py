"""Uploads that arrive in several requests."""

from alembic import op

revision = "011"
down_revision = "010"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = (
    # `id` is also that of the image which the upload becomes: its object is put under the original's key. `holder` is
    # the request that writes now. An upload ends with an image or with the error that refused it.
    """
    CREATE TABLE upload (
        id               uuid PRIMARY KEY,
        owner            text NOT NULL,
        ticket_id        uuid,
        protocol         text NOT NULL,
        size             bigint,  -- NULL: the sender has not said it yet
        received         bigint NOT NULL DEFAULT 0,
        file_name        text NOT NULL,
        fields           json NOT NULL,
        sha256           text,
        idempotency_key  text,
        metadata         text NOT NULL,  -- as tus sent it
        part_bytes       bigint NOT NULL,
        next_part        integer NOT NULL DEFAULT 1,
        handle           text,  -- of the object store, once it has begun an object in parts
        tail_key         text,  -- the object with the bytes after the last part
        stored           boolean NOT NULL DEFAULT false,  -- the object is whole
        holder           uuid,
        held_until       timestamptz,
        ended_at         timestamptz,
        image_id         uuid,
        duplicate        boolean NOT NULL DEFAULT false,
        refusal          json,
        created_at       timestamptz NOT NULL DEFAULT now(),
        expires_at       timestamptz NOT NULL,
        CHECK ((ended_at IS NULL) = (image_id IS NULL AND refusal IS NULL))
    )
    """,
    "CREATE INDEX upload_expiry ON upload (expires_at)",
    "CREATE INDEX upload_unfinished ON upload (owner) WHERE ended_at IS NULL",
    # A ticket's keys are its own.
    "CREATE UNIQUE INDEX upload_key ON upload (owner, idempotency_key) WHERE refusal IS NULL AND ticket_id IS NULL",
    """
    CREATE UNIQUE INDEX upload_key_of_ticket ON upload (ticket_id, idempotency_key)
    WHERE refusal IS NULL AND ticket_id IS NOT NULL
    """,
    # Numbers have gaps: an upload takes a new one for each put, so that a late put cannot replace another one's part.
    """
    CREATE TABLE upload_part (
        upload_id  uuid NOT NULL REFERENCES upload ON DELETE CASCADE,
        number     integer NOT NULL,
        start      bigint NOT NULL,
        size       bigint NOT NULL,
        etag       text NOT NULL,
        PRIMARY KEY (upload_id, number)
    )
    """,
)
