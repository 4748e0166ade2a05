"""Images, the objects in the store, the events that clients read, and what uploads need."""

from alembic import op

revision = "001"
down_revision = None


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


STATEMENTS = [
    # One row, inserted here. The object store holds the same id, so that no other installation uses it.
    """
    CREATE TABLE installation (
        id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        swept_at    timestamptz NOT NULL DEFAULT '-infinity',
        paused_at   timestamptz,  -- workers claim nothing since then; a row, because Valkey may lose it
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
        original_name    text NOT NULL,
        mime_type        text NOT NULL,
        size             bigint NOT NULL,
        sha256           text NOT NULL,
        animated         boolean NOT NULL,
        width            integer,
        height           integer,
        status           text NOT NULL DEFAULT 'PENDING' CHECK (status IN ('PENDING', 'PROCESSING', 'READY', 'FAILED')),
        version          integer NOT NULL DEFAULT 1,

        -- Processing. `work_state` is what workers go by: 'due' waits for a worker, 'claimed' has one, NULL is settled.
        -- `status` is what clients see; a READY image stays READY while it is rendered again.
        work_state       text DEFAULT 'due' CHECK (work_state IN ('due', 'claimed')),
        lane             text NOT NULL DEFAULT 'interactive' CHECK (lane IN ('interactive', 'bulk', 'maintenance')),
        queue_position   integer NOT NULL DEFAULT 1 CHECK (queue_position >= 1),  -- among the owner's waiting images
        attempt          integer NOT NULL DEFAULT 0,  -- the fence: a result of an earlier attempt is refused
        strikes          integer NOT NULL DEFAULT 0,  -- failures that count against the picture
        losses           integer NOT NULL DEFAULT 0,  -- workers that were lost with it, one after another
        deferrals        integer NOT NULL DEFAULT 0,  -- delays because a server was unavailable
        next_attempt_at  timestamptz NOT NULL DEFAULT now(),
        lease_until      timestamptz,
        worker           text,
        enqueued_at      timestamptz NOT NULL DEFAULT now(),  -- when the queue last got a job for it

        -- Results.
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
        deleted_at       timestamptz,
        dropped_at       timestamptz,  -- an operator has taken a FAILED image off the list of failures

        -- An image that is neither due, claimed nor settled would wait for ever.
        CONSTRAINT image_due_or_settled CHECK (work_state IS NOT NULL OR status IN ('READY', 'FAILED'))
    )
    """,
    # The same bytes are one image of their owner.
    "CREATE UNIQUE INDEX image_unique_content ON image (owner, sha256) WHERE deleted_at IS NULL",
    "CREATE INDEX image_newest ON image (owner, created_at DESC, id DESC) WHERE deleted_at IS NULL",
    "CREATE INDEX image_newest_by_status ON image (owner, status, created_at DESC, id DESC) WHERE deleted_at IS NULL",
    "CREATE INDEX image_due ON image (next_attempt_at) WHERE work_state = 'due' AND deleted_at IS NULL",
    "CREATE INDEX image_oldest_due ON image (owner, next_attempt_at) WHERE work_state = 'due' AND deleted_at IS NULL",
    "CREATE INDEX image_backlog ON image (owner, lane) WHERE work_state = 'due' AND deleted_at IS NULL",
    "CREATE INDEX image_leased ON image (lease_until) WHERE work_state = 'claimed' AND deleted_at IS NULL",
    """
    CREATE INDEX image_failed ON image (updated_at, id)
    WHERE status = 'FAILED' AND deleted_at IS NULL AND dropped_at IS NULL
    """,
    "CREATE INDEX image_deleted ON image (deleted_at) WHERE deleted_at IS NOT NULL",
    # The bytes of each owner's originals. A trigger keeps the sum, so that no code path can miss a change.
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
    # Only the columns that the sum depends on: a worker's updates do not fire it.
    """
    CREATE TRIGGER count_storage AFTER INSERT OR DELETE OR UPDATE OF owner, size, deleted_at ON image
    FOR EACH ROW EXECUTE FUNCTION count_storage()
    """,
    # A row is inserted before its object is put, so an object without a row is not Gallery's. What an image needs has
    # no `remove_after`; everything else is removed at that time, and '-infinity' says that the removal has begun.
    # `remove_again_at` is set for a put that was given up: the object may still arrive after its removal.
    """
    CREATE TABLE object (
        key              text PRIMARY KEY,
        image_id         uuid NOT NULL,
        attempt          integer,
        remove_after     timestamptz,
        remove_again_at  timestamptz,
        created_at       timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX object_removal ON object (remove_after) WHERE remove_after IS NOT NULL",
    "CREATE INDEX object_of_image ON object (image_id)",
    # `number` is the order in which clients read events. It is assigned after the commit, `id` before it.
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
    "CREATE INDEX event_of_owner ON event (owner, number) WHERE number IS NOT NULL",
    "CREATE INDEX event_age ON event (created_at)",
    # One row. `head` is the last number that was assigned, `floor` the last one whose event was deleted.
    """
    CREATE TABLE event_numbers (
        head   bigint NOT NULL,
        floor  bigint NOT NULL
    )
    """,
    "INSERT INTO event_numbers VALUES (0, 0)",
    # What has happened to each image.
    """
    CREATE TABLE timeline (
        id               bigint GENERATED ALWAYS AS IDENTITY,
        image_id         uuid NOT NULL REFERENCES image ON DELETE CASCADE,
        at               timestamptz NOT NULL DEFAULT now(),
        stage            text NOT NULL,
        attempt          integer NOT NULL,
        worker           text,
        duration         interval,
        code             text,
        next_attempt_at  timestamptz,
        PRIMARY KEY (image_id, id)
    )
    """,
    "CREATE INDEX timeline_settled ON timeline (at, stage) WHERE stage IN ('ready', 'failed')",
    # While a request is answered, `status` is NULL and `ends_at` is the end of its lease. Then the row holds the
    # answer, until `ends_at`.
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
