"""What each owner's originals take, kept by a trigger: whatever changes an image, in this version or the one before."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    """
    CREATE TABLE storage (
        owner  text PRIMARY KEY,
        bytes  bigint NOT NULL
    )
    """,
    """
    CREATE FUNCTION count_storage() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'INSERT' AND OLD.deleted_at IS NULL THEN
            UPDATE storage SET bytes = bytes - OLD.size WHERE owner = OLD.owner;
        END IF;
        IF TG_OP <> 'DELETE' AND NEW.deleted_at IS NULL THEN
            INSERT INTO storage VALUES (NEW.owner, NEW.size)
            ON CONFLICT (owner) DO UPDATE SET bytes = storage.bytes + excluded.bytes;
        END IF;
        RETURN NULL;
    END
    $$
    """,
    # Not for the columns that a worker writes: only what is counted is watched.
    """
    CREATE TRIGGER count_storage AFTER INSERT OR DELETE OR UPDATE OF owner, size, deleted_at ON image
    FOR EACH ROW EXECUTE FUNCTION count_storage()
    """,
    # The trigger's lock keeps writers away until the commit, so this sum misses nobody.
    "INSERT INTO storage SELECT owner, sum(size) FROM image WHERE deleted_at IS NULL GROUP BY owner",
]
