"""Pictures on demand: what was made from an image by a URL, and is kept until it is the longest unused."""

from alembic import op

revision = "007"
down_revision = "006"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # A row is first a claim of the process that makes the picture, until `lease_until`. With `key` the picture is kept.
    # `digest` names what was asked for; `claim` is the fence, and names the object. `strikes`: renderers that it ended.
    """
    CREATE TABLE picture (
        image_id     uuid NOT NULL REFERENCES image ON DELETE CASCADE,
        digest       text NOT NULL,
        claim        uuid NOT NULL,
        lease_until  timestamptz,
        strikes      integer NOT NULL DEFAULT 0,
        key          text UNIQUE REFERENCES object ON DELETE CASCADE,
        width        integer,
        height       integer,
        size         bigint NOT NULL DEFAULT 0,
        used_at      timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (image_id, digest)
    )
    """,
    "CREATE INDEX picture_used ON picture (used_at)",
    # The bytes of all kept pictures, in one row. A trigger keeps the sum, so that no code path can miss a change.
    "CREATE TABLE picture_total (bytes bigint NOT NULL)",
    "INSERT INTO picture_total VALUES (0)",
    """
    CREATE FUNCTION count_pictures() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        UPDATE picture_total SET bytes = bytes
            + CASE WHEN TG_OP = 'DELETE' THEN 0 ELSE NEW.size END
            - CASE WHEN TG_OP = 'INSERT' THEN 0 ELSE OLD.size END;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER count_pictures AFTER UPDATE OF size ON picture
    FOR EACH ROW WHEN (OLD.size <> NEW.size) EXECUTE FUNCTION count_pictures()
    """,
    """
    CREATE TRIGGER count_removed_pictures AFTER DELETE ON picture
    FOR EACH ROW WHEN (OLD.size > 0) EXECUTE FUNCTION count_pictures()
    """,
]
