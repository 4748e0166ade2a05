"""Images, the objects they are stored in, and the events that tell of them."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # One row, made here: who we are. The object store carries the same id.
    """
    CREATE TABLE installation (
        id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        swept_at    timestamptz NOT NULL DEFAULT '-infinity',
        created_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    "INSERT INTO installation DEFAULT VALUES",
    """
    CREATE TABLE image (
        id               uuid PRIMARY KEY,
        owner            text NOT NULL,
        title            text NOT NULL,
        description      text NOT NULL DEFAULT '',
        alt              text NOT NULL DEFAULT '',
        tags             text[] NOT NULL DEFAULT '{}',
        visibility       text NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public')),
        lane             text NOT NULL DEFAULT 'interactive' CHECK (lane IN ('interactive', 'bulk')),
        original_name    text NOT NULL,
        mime_type        text NOT NULL,
        size             bigint NOT NULL,
        sha256           text NOT NULL,
        animated         boolean NOT NULL,
        width            integer,
        height           integer,
        status           text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PROCESSING', 'READY', 'FAILED')),
        version          integer NOT NULL DEFAULT 1,

        -- processing: the fence, what counts against the picture, and when it is due again
        attempt          integer NOT NULL DEFAULT 0,
        strikes          integer NOT NULL DEFAULT 0,
        losses           integer NOT NULL DEFAULT 0,
        deferrals        integer NOT NULL DEFAULT 0,
        next_attempt_at  timestamptz NOT NULL DEFAULT now(),
        lease_until      timestamptz,
        worker           text,
        enqueued_at          timestamptz NOT NULL DEFAULT now(),

        -- what came of it
        rendered_attempt integer,
        recipe           text,
        renditions       jsonb NOT NULL DEFAULT '[]',
        thumbhash        text,
        color            text,
        exif             jsonb NOT NULL DEFAULT '{}',
        error_code       text,
        error_message    text,

        created_at       timestamptz NOT NULL DEFAULT now(),
        updated_at       timestamptz NOT NULL DEFAULT now(),
        deleted_at       timestamptz
    )
    """,
    "CREATE INDEX image_newest ON image (owner, created_at DESC, id DESC) WHERE deleted_at IS NULL",
    "CREATE INDEX image_newest_by_status ON image (owner, status, created_at DESC, id DESC) WHERE deleted_at IS NULL",
    "CREATE INDEX image_due ON image (next_attempt_at) WHERE status = 'PENDING' AND deleted_at IS NULL",
    "CREATE INDEX image_leased ON image (lease_until) WHERE status = 'PROCESSING' AND deleted_at IS NULL",
    "CREATE INDEX image_deleted ON image (deleted_at) WHERE deleted_at IS NOT NULL",
    # Written before the object is: a key that no row knows was not put by us. What an image needs has no
    # `remove_after`; all else goes at that time, and '-infinity' says that it is going.
    """
    CREATE TABLE object (
        key           text PRIMARY KEY,
        image_id      uuid NOT NULL,
        attempt       integer,
        remove_after  timestamptz,
        created_at    timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX object_removal ON object (remove_after) WHERE remove_after IS NOT NULL",
    "CREATE INDEX object_of_image ON object (image_id)",
    # `number` is the order in which readers see events; it is given after the commit, `id` before it.
    """
    CREATE TABLE event (
        id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        number      bigint UNIQUE,
        owner       text NOT NULL,
        image_id    uuid NOT NULL,
        version     integer NOT NULL,
        type        text NOT NULL,
        data        json NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX event_unnumbered ON event (id) WHERE number IS NULL",
    "CREATE INDEX event_age ON event (created_at)",
    # One row. `head` is the last number given, `floor` the last number that is no longer kept.
    """
    CREATE TABLE event_numbers (
        head   bigint NOT NULL,
        floor  bigint NOT NULL
    )
    """,
    "INSERT INTO event_numbers VALUES (0, 0)",
]
